"""The kinds of job that do not train: what each does between its first status and its last."""
