"""Takes jobs and trains them; TensorFlow lives here, and only in the process that trains."""
