"""A trained twin as a SavedModel and as a LiteRT file, and what such files answer when they are loaded again."""

import io
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from worker.export import INPUT, OUTPUT, ExportError, in_batches, input_of, portable

FOLDER = "saved_model"
SIGNATURE = "serving_default"
MOST_STEPS = 256
"""Of a recurrent layer whose steps are written out; 200 of one layer take some 40 seconds."""
_OPERATOR = re.compile(r"'tf\.(\w+)' op|tf\.(\w+)\(")

Images = npt.NDArray[np.float32]
Answers = npt.NDArray[np.float32]


class Inexpressible(Exception):
    """The network has something for which the format has no form; the message names it."""


def export_saved_model(twin: keras.Model) -> bytes:
    """A zip with the folder `saved_model`, which `tf.saved_model.load` reads without any code of ours.

    Its signature `serving_default`, and its method `serve`, take `image`, a batch of any size in float32, and answer
    `{"output": ...}`. The same folder always makes the same zip.
    """
    with _saved_model(portable(twin)) as folder:
        return _zipped(folder)


def export_litert(twin: keras.Model) -> bytes:
    """A `.tflite` file of built-in operators alone, with the same signature as the SavedModel.

    Steps of recurrent layers are written out, since LiteRT has loops for batches of one size only. Raises
    Inexpressible.
    """
    for layer in twin.layers:
        if isinstance(layer, keras.layers.RNN) and (steps := layer.input.shape[1]) > MOST_STEPS:
            raise Inexpressible(
                f"LiteRT has no loop for the recurrent layer {layer.name}: its steps are written out one after "
                f"another, which is done for at most {MOST_STEPS}. Received: {steps} steps"
            )
    with _saved_model(portable(twin, unroll=True)) as folder:
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.experimental_enable_resource_variables = True
        try:
            content: bytes = converter.convert()
        except Exception as error:  # ConverterError is in no public module.
            raise _inexpressible(error) from error
    return content


def ask_saved_model(content: bytes, images: Images) -> Answers:
    """What the SavedModel in the zip `content` answers to `images`. Raises ExportError when it does not load."""
    try:
        with tempfile.TemporaryDirectory() as folder, tf.device("/CPU:0"):
            zipfile.ZipFile(io.BytesIO(content)).extractall(folder)
            loaded = tf.saved_model.load(str(Path(folder, FOLDER)))
            serve = loaded.signatures[SIGNATURE]
            return in_batches(lambda some: serve(**{INPUT: tf.constant(some)})[OUTPUT].numpy(), images)
    except Exception as error:  # a broken zip, a broken file in it, or one of other names: each has its own
        # Without what it says, which names folders of this machine.
        raise ExportError("The SavedModel does not load or run.") from error


def ask_litert(content: bytes, images: Images) -> Answers:
    """What the LiteRT file `content` answers to `images`. Raises ExportError when it does not load."""
    try:
        with warnings.catch_warnings():
            # TensorFlow announces that the interpreter will move to a package of its own.
            warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated", UserWarning)
            interpreter = tf.lite.Interpreter(model_content=content)
        serve = interpreter.get_signature_runner(SIGNATURE)  # which takes batches of any size, one after another
        return in_batches(lambda some: serve(**{INPUT: some})[OUTPUT], images)
    except Exception as error:  # ValueError, RuntimeError, KeyError: as the wrapped C++ sees fit.
        raise ExportError(f"The LiteRT file does not load or run: {error}") from error


@contextmanager
def _saved_model(network: keras.Model) -> Iterator[Path]:
    """A folder with the SavedModel of `network`, until the block ends."""

    def serve(image: Any) -> dict[str, Any]:
        return {OUTPUT: network(image, training=False)}

    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint("serve", serve, input_signature=[input_of(network)])
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        yield Path(folder)


def _zipped(folder: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            # A ZipInfo of its own bears no time of day and no rights of this machine.
            entry = zipfile.ZipInfo(f"{FOLDER}/{path.relative_to(folder).as_posix()}")
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return file.getvalue()


def _inexpressible(error: Exception) -> Inexpressible:
    """The converter's many lines in one sentence that names the operators."""
    found = dict.fromkeys(name or other for name, other in _OPERATOR.findall(str(error)))
    named = ", ".join(found) or str(error).partition("\n")[0][:200]
    return Inexpressible(f"LiteRT has no form for what the network computes. Received: {named}")
