"""Whether a metric should rise or fall, told from its name."""

RISING = ("accuracy", "precision", "recall", "f1", "auc")


def higher_is_better(name: str) -> bool:
    """Whether more of the metric `name`, Keras's spelling with or without `val_`, is better: losses and errors fall."""
    return any(word in name.removeprefix("val_").split("_") for word in RISING)
