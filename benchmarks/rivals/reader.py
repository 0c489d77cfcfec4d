"""What every rival does with a picture: the very recipe and the very ONNX session that Trainyard answers with."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from api.inference.recipe import see_digit
from api.inference.sessions import Predictor

MODEL = "BENCH_MODEL_FOLDER"  # the environment's variable that says where model.onnx and model.keras are


def model_file(name: str) -> Path:
    """A file of the model that is served."""
    return Path(os.environ[MODEL], name)


class Reader:
    """A digit reader: a picture file in, an answer out."""

    def __init__(self) -> None:
        self._predictor = Predictor(model_file("model.onnx").read_bytes())

    def read(self, picture: bytes) -> dict[str, Any]:
        """The answer to one picture, for JSON."""
        return answer(self._predictor.predict(see_digit(picture).pixels[None, ..., None])[0])


def answer(outputs: Any) -> dict[str, Any]:
    """What a client is told of the outputs (10,) for one picture."""
    label = int(np.argmax(outputs))
    return {"label": label, "probability": float(outputs[label]), "probabilities": outputs.tolist()}
