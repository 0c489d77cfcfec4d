"""Images are varied in training only, each time anew, as the seed has it; the served twin knows nothing of it."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from models.spec import JobSpec, parse_spec
from worker import data, training
from worker.checkpoints import variables_of
from worker.inputs import input_layers
from worker.network import build_network
from worker.rehearsal import chunks_of

ALL = {"rotation": 0.1, "translation": 0.1, "zoom": 0.2, "noise": 0.1}
UNIT = (1 / 255, 0.0)
NAMES = ["augment_rotation", "augment_translation", "augment_zoom", "augment_noise"]
IMAGES = np.zeros((64, 28, 28, 1), np.float32)
IMAGES[:, 8:20, 12:16] = 255


def spec_of(augmentation: Any, **rest: Any) -> JobSpec:
    return parse_spec({"dataset": {"name": "digits", "augmentation": augmentation}, **rest})


def varied(augmentation: Any, seed: int = 0, times: int = 1) -> np.ndarray:
    """The images after the layers before the network, in training, at the last of so many times."""
    layers = input_layers(spec_of(augmentation), (1.0, 0.0), serving=False, seed=seed)
    for _ in range(times):
        values: Any = IMAGES
        for layer in layers:
            values = layer(values, training=True)
    return keras.ops.convert_to_numpy(values)


@pytest.mark.parametrize(("augmentation", "names"), [(None, []), ({}, []), ({"zoom": 0.1}, NAMES[2:3]), (ALL, NAMES)])
def test_there_is_a_layer_for_each_change_that_is_wanted(augmentation: Any, names: list[str]) -> None:
    spec = spec_of(augmentation)
    assert [layer.name for layer in build_network(spec, UNIT).layers[1:]][: len(names) + 1] == [*names, "rescaling"]
    twin = build_network(spec, UNIT, serving=True)
    assert not [layer.name for layer in twin.layers if layer.name.startswith("augment")]


def test_only_training_is_varied() -> None:
    network = build_network(spec_of(ALL, precision="mixed_bfloat16"), UNIT)
    plain = build_network(spec_of(None, precision="mixed_bfloat16"), UNIT)
    assert np.array_equal(network(IMAGES, training=False), plain(IMAGES, training=False))
    assert not np.array_equal(network(IMAGES, training=True), plain(IMAGES, training=False))
    assert {network.get_layer(name).compute_dtype for name in NAMES} == {"float32"}


@pytest.mark.parametrize("change", list(ALL))
def test_each_image_is_changed_in_its_own_way_and_anew_each_time(change: str) -> None:
    wanted = {change: ALL[change]}
    once = varied(wanted)
    assert len(np.unique(once.reshape(64, -1), axis=0)) == 64
    assert np.array_equal(once, varied(wanted))
    assert not np.array_equal(once, varied(wanted, times=2))
    assert not np.array_equal(once, varied(wanted, seed=1))


def test_what_moves_in_is_black_and_noise_has_its_deviation() -> None:
    moved = varied({"translation": 0.4})
    assert moved.min() == 0
    assert moved.max() <= 255.001
    assert moved[:, :8].max() > 0
    assert (moved.sum(axis=(1, 2, 3)) <= IMAGES[0].sum() * 1.001).all()
    assert (varied({"noise": 0.1}) - IMAGES).std() == pytest.approx(25.5, rel=0.02)
    assert (varied({"noise": 1.0}) - IMAGES).std() == pytest.approx(255, rel=0.02)


def test_training_varies_images_inside_the_compiled_loop() -> None:
    """Every draw moves a seed generator that checkpoints keep."""
    spec = spec_of(ALL, batch_size=500)
    split = data.split_for(spec, Path("/nowhere"), True)
    model = training.build_model(spec, split, UNIT)
    states = [variable for variable in variables_of(model) if "seed_generator" in variable.path]
    before = [variable.numpy().tolist() for variable in states]
    training.fit(model, chunks_of(spec, len(split.x_train)), seed=0, epochs=1)
    after = [variable.numpy().tolist() for variable in states]
    assert len(states) == 5  # with the preset's dropout
    assert all(mine != theirs for mine, theirs in zip(before, after, strict=True))
