"""Small ONNX models made by hand, for tests that need no training."""

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper


def linear_onnx(weights: npt.NDArray[np.float32]) -> bytes:
    """An ONNX model (n, 28, 28, 1) -> (n, k): the flattened picture times `weights`, shape (784, k)."""
    count = weights.shape[1]
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["pixels"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["outputs"]),
        ],
        "linear",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [None, 28, 28, 1])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, [None, count])],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())
