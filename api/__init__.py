"""The HTTP side: accepts jobs, tells how they go, and answers predictions. It never imports TensorFlow."""
