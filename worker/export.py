"""A trained twin as files: Keras's own format, and ONNX, which is checked against Keras before it is trusted."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from worker.callbacks import Diverged
from worker.layers import in_float64

INPUT, OUTPUT = "image", "output"
TOLERANCE = 1e-4
BATCH = 250
ACTIVATIONS_OF_A_LAYER = ("activation", "recurrent_activation")


class ExportError(Exception):
    """An exported model that does not load, or does not answer as Keras does."""


def export_keras(twin: keras.Model) -> bytes:
    """The `.keras` file of `twin`; `keras.saving.load_model` reads it without any code of ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        twin.save(path)
        return path.read_bytes()


def export_onnx(twin: keras.Model) -> bytes:
    """The ONNX file of `twin`, a network for serving.

    It has one input, `image` (batch, 28, 28, 1) of float32 pixels, and one output, `output` (batch, outputs), also
    float32; the batch is of any size.
    """
    source = portable(twin)
    source = _with_plain_gelu(source) if list(_gelus(source)) else source
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Keras asks NumPy for `np.object` to see whether it has to mend tf2onnx; NumPy warns that it will be back.
        warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)
        path = Path(folder, "model.onnx")
        source.export(path, format="onnx", verbose=False, input_signature=[input_of(twin)])
        model = onnx.load(path)
    _name_ends(model.graph)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def input_of(twin: keras.Model) -> keras.InputSpec:
    """The one input of every exported file: a batch of any size of what `twin` takes."""
    return keras.InputSpec(shape=(None, *twin.input_shape[1:]), dtype="float32", name=INPUT)


def portable(twin: keras.Model, *, unroll: bool = False) -> keras.Model:
    """`twin`, or a copy of it whose recurrent layers run without cuDNN, which a trace on a GPU would bake in.

    With `unroll` their steps are written out one after another, for formats that have no loops over batches of any
    size.
    """
    if not any(isinstance(layer, keras.layers.RNN) for layer in twin.layers):
        return twin
    return _copy(twin, unroll=unroll)


def verify_onnx(content: bytes, twin: keras.Model, images: npt.NDArray[np.float32]) -> float:
    """The largest difference between the answers of the ONNX file and of `twin` to `images` (n, 28, 28, 1).

    Raises ExportError when the file does not load, and what `compare` raises.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        answers = in_batches(lambda some: session.run([OUTPUT], {INPUT: some})[0], images)
    except Exception as error:  # ONNX Runtime's errors share no base class of their own.
        raise ExportError(f"The ONNX file does not load or run: {error}") from error
    return compare("ONNX", answers, twin, images)


def compare(name: str, answers: npt.NDArray[np.float32], twin: keras.Model, images: npt.NDArray[np.float32]) -> float:
    """The largest difference between `answers`, those of a file in the format `name`, and those of `twin` to `images`.

    Relative to the answer where that is above 1. Raises Diverged when there is an answer that is no number, and
    ExportError when the shapes differ, or the difference is above 1e-4 and above ten times what float32 costs Keras
    itself. That cost is nothing for most networks; with large weights on unscaled pixels it can reach 1e-3.
    """
    # A GPU multiplies in a shorter format (TF32); that is no fault of the file.
    with keras.device("cpu:0"):
        expected = in_batches(lambda some: keras.ops.convert_to_numpy(twin(some, training=False)), images)
    if answers.shape != expected.shape:
        raise ExportError(f"{name} answers in the shape {answers.shape}, Keras in {expected.shape}.")
    if not np.isfinite(answers).all():
        # TensorFlow's relu makes 0 of nan, ONNX Runtime's does not: inside, the numbers are beyond float32.
        raise Diverged(f"What the network computes is too large for float32: its {name} file answers with no numbers.")
    difference = _difference(answers, expected)
    if not difference <= TOLERANCE and not difference <= 10 * _difference(expected, _in_float64(twin, images)):
        raise ExportError(f"{name} and Keras differ by {difference:.2g}; at most {TOLERANCE:g} is accepted.")
    return difference


def in_batches(ask: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What `ask` answers to `images`, of which it is given some at a time: a wide layer's outputs take much memory."""
    return np.concatenate([ask(images[start : start + BATCH]) for start in range(0, len(images), BATCH)])


def _difference(answers: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    return float(np.max(np.abs(answers - expected) / np.maximum(np.abs(expected), 1)))


def _in_float64(twin: keras.Model, images: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """What `twin` answers when it computes in float64."""
    exact = keras.models.clone_model(twin, clone_function=in_float64)
    exact.set_weights(twin.get_weights())
    with keras.device("cpu:0"):
        return in_batches(
            lambda some: keras.ops.convert_to_numpy(exact(some.astype(np.float64), training=False)), images
        )


def _gelus(network: keras.Model) -> Iterator[tuple[Any, str]]:
    """Every object that holds a gelu, and the attribute under which it does."""
    for layer in network.layers:
        holder = getattr(layer, "cell", layer)  # a recurrent layer only shows what its cell has
        for name in ACTIVATIONS_OF_A_LAYER:
            if getattr(holder, name, None) is keras.activations.gelu:
                yield holder, name


def _copy(network: keras.Model, **of_recurrent: Any) -> keras.Model:
    """`network` once more, with its weights, without cuDNN, and with these arguments of its recurrent layers."""

    def copied(layer: Any) -> Any:
        config = layer.get_config()
        if not isinstance(layer, keras.layers.RNN):
            return type(layer).from_config(config)
        copy = type(layer).from_config(config | of_recurrent)
        copy.use_cudnn = False  # which is no part of the configuration
        return copy

    copy = keras.models.clone_model(network, clone_function=copied)
    copy.set_weights(network.get_weights())
    return copy


def _with_plain_gelu(twin: keras.Model) -> keras.Model:
    """A copy of `twin` whose gelu is written with erf: TensorFlow's own uses erfc, which ONNX does not have."""
    copy = _copy(twin)
    for holder, name in _gelus(copy):
        setattr(holder, name, _gelu)
    return copy


def _gelu(x: Any) -> Any:
    """x/2 (1 + erf(x / sqrt 2)): Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415."""
    return 0.5 * x * (1.0 + keras.ops.erf(x / np.sqrt(2.0).astype(np.float32)))


def _name_ends(graph: Any) -> None:
    """Name output and batch dimension, which come out as `Identity:0` and `unk__7`."""
    given = graph.output[0].name
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [OUTPUT if name == given else name for name in names]
    graph.output[0].name = OUTPUT
    for end in (graph.input[0], graph.output[0]):
        end.type.tensor_type.shape.dim[0].dim_param = "batch"
