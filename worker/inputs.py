"""What comes before a network's own layers: random changes to images in training, and the scaling of inputs."""

import keras
import numpy as np

from models.spec import JobSpec
from models.spec.data import Augmentation, ImageDataset

LARGEST_PIXEL = 255


def input_layers(spec: JobSpec, scaling: tuple[float, float], *, serving: bool, seed: int) -> list[keras.layers.Layer]:
    """Layers between the raw input, float32 pixels from 0 to 255 or features, and the network.

    Args:
        scaling: scale and offset of the inputs, input * scale + offset.
        serving: leave out what acts in training only; ONNX has no form for it.
        seed: of what is random.
    """
    scale, offset = scaling
    layers: list[keras.layers.Layer] = []
    if isinstance(spec.dataset, ImageDataset) and spec.dataset.augmentation is not None and not serving:
        layers += _augmentation(spec.dataset.augmentation, seed)
    if scaling != (1.0, 0.0):
        layers.append(keras.layers.Rescaling(scale, offset, dtype="float32", name="rescaling"))
    return layers


def _augmentation(wanted: Augmentation, seed: int) -> list[keras.layers.Layer]:
    """Keras's own layers for what is not zero, on raw pixels; each with a seed of its own."""
    seeds = [int(number >> 1) for number in np.random.SeedSequence([seed, *b"augment"]).generate_state(4)]
    common = {"dtype": "float32", "fill_mode": "constant", "fill_value": 0.0}
    layers: list[keras.layers.Layer] = []
    if wanted.rotation:
        layers.append(keras.layers.RandomRotation(wanted.rotation, seed=seeds[0], name="augment_rotation", **common))
    if wanted.translation:
        share = wanted.translation
        layers.append(keras.layers.RandomTranslation(share, share, seed=seeds[1], name="augment_translation", **common))
    if wanted.zoom:
        layers.append(keras.layers.RandomZoom(wanted.zoom, seed=seeds[2], name="augment_zoom", **common))
    if wanted.noise:
        noise = keras.layers.GaussianNoise(wanted.noise, seed=seeds[3], dtype="float32", name="augment_noise")
        noise.stddev *= LARGEST_PIXEL  # afterwards, since its constructor takes only what suits pixels from 0 to 1
        layers.append(noise)
    return layers
