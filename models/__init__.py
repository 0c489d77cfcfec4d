"""What the API and the workers agree on: settings, the spec, the database and where artifacts live."""
