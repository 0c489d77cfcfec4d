"""What comes before a network's own layers: the scaling of its inputs."""

import keras

from models.spec import JobSpec


def input_layers(spec: JobSpec, scaling: tuple[float, float], *, serving: bool, seed: int) -> list[keras.layers.Layer]:
    """Layers between the raw input, float32 pixels from 0 to 255, and the network.

    Args:
        scaling: scale and offset of the pixels, pixel * scale + offset.
        serving: leave out what acts in training only.
        seed: of what is random.
    """
    scale, offset = scaling
    if scaling == (1.0, 0.0):
        return []
    return [keras.layers.Rescaling(scale, offset, dtype="float32", name="rescaling")]
