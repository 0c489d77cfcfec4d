"""The contestants of `benchmarks.training`, one file each, run as processes of their own."""
