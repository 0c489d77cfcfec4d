"""From a spec to Keras: the network that trains, and its float32 twin that serves.

Layers have the names of `JobSpec.nodes` (`dense_1`, `dense_2`, in a graph the nodes' names); the scaling of pixels is
`rescaling`, and a softmax or sigmoid added for serving is `probabilities`. The twin lacks layers that act in training
only, but the others keep their names.
"""

import keras

from models.spec import JobSpec, output_kind
from models.spec.data import shape_of
from models.spec.layers import Conv2D, Layer, MaxPooling2D, Merge
from models.spec.layers.base import MergePart
from models.spec.network import INPUT
from worker.inputs import input_layers
from worker.layers import LayerBuilder
from worker.pooled import pooled_convolutions


def build_network(
    spec: JobSpec,
    scaling: tuple[float, float],
    *,
    serving: bool = False,
    seed: int | None = None,
    pooled: bool = False,
) -> keras.Model:
    """The network of `spec`: raw inputs (n, 28, 28, 1) from 0 to 255 or features (n, d) in, float32 (n, outputs) out.

    A precision that is still `auto` means float32 here.

    Args:
        scaling: scale and offset of the inputs, input * scale + offset.
        serving: build the twin for inference: float32 throughout, without layers that act in training only, and with
            softmax or sigmoid at the end where the loss is from logits.
        seed: instead of the spec's. The same seed gives the same weights.
        pooled: work out gradients of pooled convolutions where it is cheaper (worker.pooled).
    """
    seed = spec.seed if seed is None else seed
    policy = "float32" if serving or spec.precision == "auto" else spec.precision
    raw = keras.Input(shape_of(spec.dataset), dtype="float32", name="image")
    ready = raw
    for layer in input_layers(spec, scaling, serving=serving, seed=seed):
        ready = layer(ready)
    values, nodes = {INPUT: ready}, spec.nodes
    pooled_by = pooled_convolutions(nodes) if pooled else {}
    layers: dict[str, keras.layers.Layer] = {}
    for place, node in enumerate(nodes):
        before = [values[name] for name in node.inputs]
        if serving and not isinstance(node.layer, MergePart) and node.layer.training_only:
            (values[node.name],) = before
            continue
        # The loss needs the range of float32.
        builder = LayerBuilder(seed, place, "float32" if place == len(nodes) - 1 else policy)
        if isinstance(node.layer, Conv2D) and node.name in pooled_by.values():
            built = builder.build_before_pooling(node.layer, node.name)
        elif isinstance(node.layer, MaxPooling2D) and node.name in pooled_by:
            built = builder.build_after(layers[pooled_by[node.name]], node.layer, node.name)
        else:
            built = builder.build(_for_serving(node.layer) if serving else node.layer, node.name)
        layers[node.name] = built
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
