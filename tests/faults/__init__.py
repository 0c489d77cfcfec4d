"""A seeded random schedule of faults under running jobs: `python -m tests.faults --help`."""
