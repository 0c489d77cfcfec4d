"""Small ONNX models made by hand, for tests that need no training."""

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper


def linear_onnx(weights: npt.NDArray[np.float32], shape: tuple[int, ...] = (28, 28, 1)) -> bytes:
    """An ONNX model (n, *shape) -> (n, k): the flattened example times `weights`, shape (numbers of an example, k)."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["output"]),
        ],
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", weights.shape[1]])],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())
