"""MLflow models of the network for `mlflow models serve`; `benchmarks/.venv-serving` has it.

`python -m benchmarks.rivals.mlflow_model FOLDER` saves two: `recipe` takes a picture in base64 and does what Trainyard
does; `onnx` is MLflow's own ONNX flavour, which takes pixels.
"""

import base64
import sys
from pathlib import Path
from typing import Any

import mlflow  # type: ignore[import-not-found]
import onnx

from benchmarks.rivals.reader import Reader, model_file


class Digits(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A digit reader."""

    def load_context(self, context: Any) -> None:
        """Load the model, once a process."""
        self.reader = Reader()

    def predict(self, context: Any, model_input: Any, params: Any = None) -> list[dict[str, Any]]:
        """An answer a picture."""
        return [self.reader.read(base64.b64decode(picture)) for picture in model_input]


def main(folder: Path) -> None:
    """Save both."""
    mlflow.pyfunc.save_model(folder / "recipe", python_model=Digits(), pip_requirements=[])
    mlflow.onnx.save_model(
        onnx.load(model_file("model.onnx")),
        folder / "onnx",
        onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
        pip_requirements=[],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
