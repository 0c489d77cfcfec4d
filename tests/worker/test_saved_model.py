"""SavedModel and LiteRT: loaded again they answer as Keras does, like every other form of a model."""

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.models.spec.network_strategies import PLAIN_ACTIVATIONS
from tests.models.spec.test_parsing import END, network
from tests.worker.test_export import twin_of
from worker.export import ExportError, compare, export_keras, export_onnx, verify_onnx
from worker.initial_weights import load_keras
from worker.kinds.ensemble import combine
from worker.saved_model import (
    MOST_STEPS,
    Inexpressible,
    ask_litert,
    ask_saved_model,
    export_litert,
    export_saved_model,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (1000, 28, 28, 1)).astype(np.float32)
ROWS = {"type": "reshape", "target_shape": [7, 112]}
MLP = network("flatten", {"type": "dense", "units": 32, "activation": "relu"}, {"type": "dropout", "rate": 0.2}, END)
CNN = network(
    {"type": "conv2d", "filters": 6, "kernel_size": 3, "activation": "relu"},
    "batch_normalization",
    "max_pooling2d",
    {"type": "separable_conv2d", "filters": 4, "kernel_size": 3},
    {"type": "spatial_dropout2d", "rate": 0.1},
    "average_pooling2d",
    "flatten",
    {"type": "dropout", "rate": 0.5},
    {"type": "dense", "units": 10},
)
RECURRENT = network(
    ROWS,
    {"type": "lstm", "units": 8, "return_sequences": True, "dropout": 0.2, "recurrent_dropout": 0.1},
    "layer_normalization",
    {"type": "gru", "units": 6},
    END,
)


@pytest.mark.parametrize("body", [MLP, CNN, RECURRENT], ids=["mlp", "cnn", "recurrent"])
def test_every_export_equals_keras_on_a_thousand_images(body: Any) -> None:
    _, twin = twin_of(body)
    file = export_keras(twin)
    loaded = load_keras(file)
    assert np.array_equal(loaded(IMAGES, training=False), twin(IMAGES, training=False))
    assert verify_onnx(export_onnx(twin), twin, IMAGES) < 1e-5
    assert compare("SavedModel", ask_saved_model(export_saved_model(loaded), IMAGES), twin, IMAGES) < 1e-5
    assert compare("LiteRT", ask_litert(export_litert(loaded), IMAGES), twin, IMAGES) < 1e-5


def test_litert_has_a_form_for_every_activation() -> None:
    layers = [{"type": "dense", "units": 6, "activation": name} for name in [*PLAIN_ACTIVATIONS, "leaky_relu"]]
    assert litert_differs(twin_of(network("flatten", *layers, END))[1]) < 1e-5


def test_ensembles_have_other_forms_too() -> None:
    members = [
        twin_of(network("flatten", {"type": "dense", "units": 4, "activation": "tanh"}, END))[1],
        twin_of(MLP)[1],
    ]
    voting = combine(members, "vote")
    assert litert_differs(voting) == 0
    assert np.array_equal(ask_saved_model(export_saved_model(voting), IMAGES[:50]), voting(IMAGES[:50]))


def litert_differs(twin: keras.Model) -> float:
    return compare("LiteRT", ask_litert(export_litert(twin), IMAGES[:50]), twin, IMAGES[:50])


def test_features_go_in_as_images_do() -> None:
    _, twin = twin_of({"dataset": "spiral", "network": {"layers": [{"type": "dense", "units": 3}]}})
    points = np.random.default_rng(3).normal(size=(9, 2)).astype(np.float32)
    assert compare("SavedModel", ask_saved_model(export_saved_model(twin), points), twin, points) < 1e-5
    assert compare("LiteRT", ask_litert(export_litert(twin), points), twin, points) < 1e-5


def test_a_long_recurrence_is_refused_by_its_name() -> None:
    steps = 2 * MOST_STEPS
    twin = keras.Sequential([keras.Input((steps, 1)), keras.layers.GRU(2, name="gru_1")])
    with pytest.raises(Inexpressible, match=rf"the recurrent layer gru_1: .* Received: {steps} steps"):
        export_litert(twin)


def test_what_has_no_form_is_named() -> None:
    raw = keras.Input((28, 28, 1), dtype="float32", name="image")
    twin = keras.Model(raw, keras.layers.Flatten()(keras.ops.erfinv(raw / 300)))
    with pytest.raises(Inexpressible, match=r"^LiteRT has no form for what the network computes. Received: Erfinv$"):
        export_litert(twin)


def test_a_trace_on_a_gpu_needs_none_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras bakes cuDNN into a trace as soon as there is a GPU; here there seems to be one."""
    _, twin = twin_of(network(ROWS, {"type": "lstm", "units": 3}, {"type": "dense", "units": 10, "activation": "gelu"}))
    loaded = load_keras(export_keras(twin))
    monkeypatch.setattr(sys.modules["keras.src.backend.tensorflow.rnn"], "_is_gpu_available", lambda: True)
    onnx, saved = export_onnx(loaded), export_saved_model(loaded)
    monkeypatch.undo()
    images = IMAGES[:20]
    assert verify_onnx(onnx, twin, images) < 1e-5
    assert compare("SavedModel", ask_saved_model(saved, images), twin, images) < 1e-5


def test_the_zip_is_one_folder_with_neither_times_nor_paths() -> None:
    _, twin = twin_of(MLP)
    content = export_saved_model(twin)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        assert {entry.filename.split("/")[0] for entry in entries} == {"saved_model"}
        assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
        here = str(Path(__file__).parents[2]).encode()
        assert not [entry.filename for entry in entries if here in archive.read(entry)]


@pytest.mark.parametrize("ask", [ask_saved_model, ask_litert])
def test_a_file_that_is_none_is_refused(ask: Any) -> None:
    with pytest.raises(ExportError, match="does not load"):
        ask(b"PK and more", IMAGES[:2])


def test_exporting_prints_nothing_and_changes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    _, twin = twin_of(MLP)
    before = np.array(twin(IMAGES[:5]))
    export_saved_model(twin)
    ask_litert(export_litert(twin), IMAGES[:5])
    assert capfd.readouterr().out == ""
    assert np.array_equal(twin(IMAGES[:5]), before)
