"""One forward and one backward pass for each of several initial values: the spread of activations and gradients.

The figures are those of X. Glorot and Y. Bengio, Understanding the difficulty of training deep feedforward neural
networks (2010), https://proceedings.mlr.press/v9/glorot10a.html, and of K. He et al., Delving deep into rectifiers
(2015), https://arxiv.org/abs/1502.01852: how far the values spread in each layer, and how far the gradients do.
"""

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.spec import JobSpec, Node, output_kind
from models.spec.initializers import Initializer
from models.spec.layers.base import WeightedPart
from worker.data import Split
from worker.kinds.batch import Batch, draw_batch
from worker.kinds.initialization_summary import sentences
from worker.kinds.steps import Steps
from worker.layers import LayerBuilder
from worker.losses import build_loss
from worker.network import build_network

QUANTILES = (5, 25, 50, 75, 95)
BINS = 40
KERNEL_FIELDS = ("kernel_initializer", "depthwise_initializer", "pointwise_initializer")
Values = npt.NDArray[np.floating[Any]]
Numbers = dict[str, float | None]


def compare_initializers(
    spec: JobSpec, split: Split, scaling: tuple[float, float], steps: Steps | None = None
) -> dict[str, Any]:
    """The result of a job of the kind `initialization`, as JSON.

    For each initializer: `label`, `loss`, and for every layer with weights or an activation, in order, `outputs` (mean,
    stddev, quantiles, zeros, saturated, histogram), `output_gradient` and `kernel_gradients` (stddev, mean_absolute),
    `size`, how many values the layer gives for an example, and `equal_units`, whether all its units give the same.
    The loss is the spec's without penalties, which would cover what comes back through the layers. The gradient of a
    last softmax or sigmoid is that of its logits, from which Keras computes the loss. A number that is not finite is
    null, and its path is in `nonfinite`.
    """
    keras.utils.set_random_seed(spec.seed)
    network, batch = build_network(spec, scaling), draw_batch(spec, split, spec.initialization.examples)
    wanted = spec.initialization.kernel_initializers
    found = []
    for number, initializer in enumerate(wanted, start=1):
        _draw_kernels(spec, network, initializer)
        one = {"initializer": initializer.model_dump(mode="json"), "label": label_of(initializer)}
        found.append(one | _spread(spec, network, batch))
        if steps is not None:
            steps.reach(number, f"{one['label']}: loss {_told(found[-1]['loss'])}")
    told = sentences(found, _chance(spec))
    return {"kind": "initialization", "examples": len(batch.inputs), "initializers": found, "summary": told}


def label_of(initializer: Initializer) -> str:
    """The initializer in a few characters: `random_normal(stddev=0.01)`; arguments with their defaults are left out."""
    given = initializer.model_dump(exclude={"type"}, exclude_defaults=True)
    told = (f"{value:g}" if isinstance(value, float) else str(value) for value in given.values())
    arguments = ", ".join(map("=".join, zip(given, told, strict=True)))
    return f"{initializer.type}({arguments})" if arguments else initializer.type


def _chance(spec: JobSpec) -> float | None:
    """The loss of guessing, with the same probability for every class; None for losses that are no cross-entropy."""
    match spec.loss.type:
        case "binary_crossentropy":
            return math.log(2)
        case "categorical_crossentropy" | "sparse_categorical_crossentropy" | "kl_divergence":
            return math.log(output_kind(spec).outputs)
        case _:
            return None


def _draw_kernels(spec: JobSpec, network: keras.Model, initializer: Initializer) -> None:
    """Draw every kernel anew; biases and all other weights become what the spec has for them."""
    for place, node in enumerate(spec.nodes):
        kernels = [name for name in type(node.layer).model_fields if name in KERNEL_FIELDS]
        layer = network.get_layer(node.name) if kernels else None
        if layer is not None:
            described = node.layer.model_copy(update=dict.fromkeys(kernels, initializer))
            fresh = LayerBuilder(spec.seed, place, "float32").build(described, node.name)
            fresh.build(layer.input.shape)
            layer.set_weights(fresh.get_weights())


def _spread(spec: JobSpec, network: keras.Model, batch: Batch) -> dict[str, Any]:
    nodes = [node for node in spec.nodes if isinstance(node.layer, WeightedPart) or hasattr(node.layer, "activation")]
    layers = [network.get_layer(node.name) for node in nodes]
    observed = keras.Model(network.inputs, [*(layer.output for layer in layers), network.output])
    kernels = [[variable for variable in layer.trainable_variables if "kernel" in variable.name] for layer in layers]
    inputs = tf.constant(batch.inputs)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        *outputs, predicted = observed(inputs, training=True)
        loss = build_loss(spec)(batch.labels, predicted)
    sought = [getattr(output, "_keras_logits", output) for output in outputs]
    values = [[variable.value for variable in of_layer] for of_layer in kernels]
    by_output, by_kernel = tape.gradient(loss, [sought, values], unconnected_gradients=tf.UnconnectedGradients.ZERO)
    nonfinite: dict[str, str] = {}
    described = [
        _layer(node, output.numpy(), slope.numpy(), list(zip(variables, slopes, strict=True)), nonfinite)
        for node, output, slope, variables, slopes in zip(nodes, outputs, by_output, kernels, by_kernel, strict=True)
    ]
    return {"loss": _finite("loss", float(loss), nonfinite), "layers": described, "nonfinite": nonfinite}


def _layer(
    node: Node, output: Values, slope: Values, kernels: list[tuple[keras.Variable, Any]], nonfinite: dict[str, str]
) -> dict[str, Any]:
    activation = getattr(node.layer, "activation", None)
    name = None if activation is None else str(activation.type)

    def checked(part: str, numbers: dict[str, float]) -> Numbers:
        return {key: _finite(f"{node.name}.{part}.{key}", value, nonfinite) for key, value in numbers.items()}

    wide = output.astype(np.float64).reshape(-1)  # Sums of squares of large float32 numbers would not be finite.
    with np.errstate(invalid="ignore", over="ignore"):
        outputs: dict[str, Any] = checked("outputs", {"mean": float(wide.mean()), "stddev": float(wide.std())})
        quantiles = dict(zip(map(str, QUANTILES), np.percentile(wide, QUANTILES).tolist(), strict=True))
        outputs["quantiles"] = checked("outputs.quantiles", quantiles)
    outputs |= {"zeros": float(np.mean(wide == 0)), "saturated": _saturated(name, wide), "histogram": _histogram(wide)}
    return {
        "name": node.name,
        "type": node.layer.type,
        "activation": name,
        "has_kernel": bool(kernels),
        "size": int(np.prod(output.shape[1:])),
        "equal_units": output.shape[-1] > 1 and bool(np.isclose(output, output[..., :1]).all()),
        "outputs": outputs,
        "output_gradient": checked("output_gradient", _sizes(slope)),
        "kernel_gradients": [
            {"variable": variable.name, **checked(f"kernel_gradients.{variable.name}", _sizes(gradient.numpy()))}
            for variable, gradient in kernels
        ],
    }


def _sizes(values: Values) -> dict[str, float]:
    wide = values.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        return {"stddev": float(wide.std()), "mean_absolute": float(np.abs(wide).mean())}


def _saturated(activation: str | None, values: Values) -> float | None:
    """The share of `values` where the activation has hardly any slope; None for activations that never saturate."""
    match activation:
        case "tanh":
            return float(np.mean(np.abs(values) > 0.99))
        case "sigmoid":
            return float(np.mean((values < 0.01) | (values > 0.99)))
        case "relu":
            return float(np.mean(values == 0))
        case _:
            return None


def _histogram(values: Values) -> dict[str, Any]:
    """Counts in bins of equal width between the least and the largest value that is finite."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"low": None, "high": None, "counts": []}
    counts, edges = np.histogram(finite, BINS)
    return {"low": float(edges[0]), "high": float(edges[-1]), "counts": counts.tolist()}


def _finite(path: str, value: float, nonfinite: dict[str, str]) -> float | None:
    """`value`, or None after its path was noted: JSON has no NaN."""
    if np.isfinite(value):
        return value
    nonfinite[path] = str(value)
    return None


def _told(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.4f}"
