"""What a job leaves in the process that trained it, and how the next one is spared it."""

import gc

import keras
from tensorflow.python.framework import ops

# TensorFlow's name for the gradient of each call of a function with a custom one, followed by a number.
TRACED_GRADIENTS = "CustomGradient-"


def clear_leftovers() -> None:
    """Free the memory and the layer names of earlier jobs, whose models must not be trained any further.

    Keras's optimizers sum gradients over the replicas, one here, by a function with a custom gradient. Whenever such a
    function is traced, TensorFlow registers that gradient for ever, and with it the whole traced step stays: some 4 MB
    a job. There is no public way to take an entry out of the registry.
    """
    registered = ops.gradient_registry._registry
    for name in [name for name in registered if name.startswith(TRACED_GRADIENTS)]:
        del registered[name]
    keras.utils.clear_session(free_memory=False)
    gc.collect()
