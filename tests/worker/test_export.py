"""Exported files answer as Keras does, and one that does not is refused."""

import io
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from models.spec import JobSpec, parse_spec
from tests.models.spec.network_strategies import PLAIN_ACTIVATIONS, Body
from tests.models.spec.test_parsing import END, network
from worker.callbacks import Diverged
from worker.export import ExportError, export_keras, export_onnx, verify_onnx
from worker.network import build_network

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 28, 28, 1)).astype(np.float32)
CONV = {"type": "conv2d", "filters": 3, "kernel_size": 3}
LOGITS = {"type": "dense", "units": 10}


def twin_of(body: Body) -> tuple[JobSpec, keras.Model]:
    """A twin with weights that are not the first ones, moving averages included."""
    spec = parse_spec(body)
    twin = build_network(spec, (1 / 255, -0.1), serving=True)
    random = np.random.default_rng(1)
    twin.set_weights([weight + np.abs(random.normal(0, 0.05, weight.shape)) for weight in twin.get_weights()])
    return spec, twin


@pytest.fixture(scope="module")
def everything() -> tuple[JobSpec, keras.Model, bytes]:
    """A network with a layer of each type that can be served, and its ONNX file."""
    spec, twin = twin_of(
        network(
            {**CONV, "padding": "same", "strides": 2, "activation": "relu"},
            "batch_normalization",
            "max_pooling2d",
            {"type": "average_pooling2d", "pool_size": 3, "strides": 1, "padding": "same"},
            {"type": "dense", "units": 4, "activation": "gelu"},
            {"type": "activation", "activation": {"type": "leaky_relu", "negative_slope": 0.3}},
            "flatten",
            {"type": "dropout", "rate": 0.5},
            LOGITS,
        )
    )
    return spec, twin, export_onnx(twin)


def test_onnx_answers_as_keras(everything: tuple[JobSpec, keras.Model, bytes]) -> None:
    _, twin, content = everything
    assert verify_onnx(content, twin, IMAGES) < 1e-5


def test_the_onnx_file_takes_batches_of_any_size_under_plain_names(
    everything: tuple[JobSpec, keras.Model, bytes],
) -> None:
    session = onnxruntime.InferenceSession(everything[2], providers=["CPUExecutionProvider"])
    assert [(end.name, end.shape, end.type) for end in session.get_inputs()] == [
        ("image", ["batch", 28, 28, 1], "tensor(float)")
    ]
    assert [(end.name, end.shape) for end in session.get_outputs()] == [("output", ["batch", 10])]
    for count in (1, 3, 7):
        (answers,) = session.run(["output"], {"image": IMAGES[:count]})
        assert answers.shape == (count, 10)
        assert np.allclose(answers.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("activation", [*PLAIN_ACTIVATIONS, "leaky_relu"])
def test_every_activation_survives(activation: str) -> None:
    layers = [
        {"type": "dense", "units": 3, "activation": activation, "bias_initializer": "normal"},
        "flatten",
        {"type": "dense", "units": 6},
        {"type": "activation", "activation": activation},
        LOGITS,
    ]
    _, twin = twin_of(network(*layers))
    assert verify_onnx(export_onnx(twin), twin, IMAGES) < 1e-5


@pytest.mark.parametrize(
    "body",
    [
        {"dataset": "mnist", "network": "mlp"},
        {"dataset": "mnist", "network": "cnn"},
        network("flatten", LOGITS, precision="mixed_bfloat16"),
        {
            "dataset": {"name": "mnist", "classes": [3, 8]},
            "network": {"layers": ["flatten", {"type": "dense", "units": 1}]},
        },
        network({**CONV, "kernel_size": [3, 5], "padding": "valid"}, "average_pooling2d", "flatten", END),
    ],
    ids=["mlp", "cnn", "mixed", "binary", "conv"],
)
def test_whole_networks(body: Body) -> None:
    _, twin = twin_of(body)
    assert verify_onnx(export_onnx(twin), twin, IMAGES) < 1e-5


def test_exporting_prints_nothing_and_changes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    _, twin = twin_of(network("flatten", {"type": "dense", "units": 4, "activation": "gelu"}, END))
    before = np.array(twin(IMAGES))
    export_onnx(twin)
    export_keras(twin)
    assert capfd.readouterr().out == ""
    assert np.array_equal(twin(IMAGES), before)
    assert twin.get_layer("dense_1").activation is keras.activations.gelu


def test_the_keras_file_needs_no_code_of_ours(everything: tuple[JobSpec, keras.Model, bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(export_keras(everything[1]))
    loaded = keras.saving.load_model(path, safe_mode=True)
    assert np.array_equal(loaded(IMAGES), everything[1](IMAGES))


def test_a_file_of_other_weights_is_refused(everything: tuple[JobSpec, keras.Model, bytes]) -> None:
    _, twin, content = everything
    other = keras.models.clone_model(twin)
    with pytest.raises(ExportError, match=r"differ by \d.*at most 0\.0001"):
        verify_onnx(content, other, IMAGES)


def test_large_weights_on_unscaled_pixels_are_no_fault_of_the_file() -> None:
    spec = parse_spec({"dataset": "mnist", "network": "cnn"})
    twin = build_network(spec, (1.0, 0.0), serving=True)
    twin.set_weights([5 * weight for weight in twin.get_weights()])
    images = np.random.default_rng(2).integers(0, 256, (256, 28, 28, 1)).astype(np.float32)
    content = export_onnx(twin)
    assert 1e-4 < verify_onnx(content, twin, images) < 1e-1
    twin.layers[-1].bias.assign_add([1.0] + [0.0] * 9)
    with pytest.raises(ExportError, match="differ"):
        verify_onnx(content, twin, images)


def test_a_file_that_is_not_onnx_is_refused(everything: tuple[JobSpec, keras.Model, bytes]) -> None:
    with pytest.raises(ExportError, match="does not load"):
        verify_onnx(everything[2][:100], everything[1], IMAGES)


def test_a_file_of_another_shape_is_refused(everything: tuple[JobSpec, keras.Model, bytes]) -> None:
    _, other = twin_of({"dataset": {"name": "mnist", "classes": [1, 2, 3]}})
    with pytest.raises(ExportError, match="shape"):
        verify_onnx(everything[2], other, IMAGES)


def test_answers_that_are_not_numbers_are_refused() -> None:
    _, twin = twin_of(network("flatten", END))
    twin.set_weights([np.full_like(weight, np.nan) for weight in twin.get_weights()])
    content = export_onnx(twin)
    onnx.checker.check_model(onnx.load(io.BytesIO(content)))
    with pytest.raises(Diverged, match="no numbers"):
        verify_onnx(content, twin, IMAGES)
