"""Runs the experiments in examples/experiments on a Trainyard service and writes the page with what came out."""
