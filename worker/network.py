"""From a spec to Keras: the network that trains, and its float32 twin that serves.

Layers have the names of `JobSpec.nodes` (`dense_1`, `dense_2`, in a graph the nodes' names); the scaling of pixels is
`rescaling`, and a softmax or sigmoid added for serving is `probabilities`. The twin lacks layers that act in training
only, but the others keep their names.
"""

import keras
import tensorflow as tf

from models.spec import JobSpec, output_kind
from models.spec.data import shape_of
from models.spec.layers import Layer, Merge
from models.spec.layers.base import MergePart
from models.spec.network import INPUT
from worker.inputs import input_layers
from worker.layers import LayerBuilder


def policy_of(spec: JobSpec) -> str:
    """The dtype policy of training; `auto` is mixed_bfloat16 where the job trains on a GPU, else float32."""
    if spec.precision != "auto":
        return spec.precision
    on_gpu = spec.device != "cpu" and bool(tf.config.list_physical_devices("GPU"))
    return "mixed_bfloat16" if on_gpu else "float32"


def build_network(
    spec: JobSpec, scaling: tuple[float, float], *, serving: bool = False, seed: int | None = None
) -> keras.Model:
    """The network of `spec`: raw inputs (n, 28, 28, 1) from 0 to 255 or features (n, d) in, float32 (n, outputs) out.

    Args:
        scaling: scale and offset of the inputs, input * scale + offset.
        serving: build the twin for inference: float32 throughout, without layers that act in training only, and with
            softmax or sigmoid at the end where the loss is from logits.
        seed: instead of the spec's. The same seed gives the same weights.
    """
    seed = spec.seed if seed is None else seed
    policy = "float32" if serving else policy_of(spec)
    raw = keras.Input(shape_of(spec.dataset), dtype="float32", name="image")
    ready = raw
    for layer in input_layers(spec, scaling, serving=serving, seed=seed):
        ready = layer(ready)
    values, nodes = {INPUT: ready}, spec.nodes
    for place, node in enumerate(nodes):
        before = [values[name] for name in node.inputs]
        if serving and not isinstance(node.layer, MergePart) and node.layer.training_only:
            (values[node.name],) = before
            continue
        # The loss needs the range of float32.
        builder = LayerBuilder(seed, place, "float32" if place == len(nodes) - 1 else policy)
        built = builder.build(_for_serving(node.layer) if serving else node.layer, node.name)
        values[node.name] = built(before if len(before) > 1 else before[0])
    outputs = values[nodes[-1].name]
    added = output_kind(spec).serving_activation if serving else None
    if added:
        outputs = keras.layers.Activation(added, dtype="float32", name="probabilities")(outputs)
    return keras.Model(raw, outputs, name="network")


def _for_serving(layer: Layer | Merge) -> Layer | Merge:
    """The layer without what acts in training only: penalties, and dropout inside recurrent layers."""
    unused = {name: None for name in type(layer).model_fields if name.endswith("_regularizer")}
    rates = {name: 0.0 for name in ("dropout", "recurrent_dropout") if hasattr(layer, name)}
    return layer.model_copy(update={**unused, **rates})


def copy_weights(source: keras.Model, twin: keras.Model) -> None:
    """Give each layer of `twin` the weights of the layer of the same name in `source`."""
    for layer in twin.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())
