"""What to change in a spec so that it learns: settings by JSON pointer, as in a study."""

from collections.abc import Callable
from typing import Any

from models.spec import JobSpec
from models.spec.data import ImageDataset, train_count
from models.spec.data.validation import held_out
from models.spec.network import Preset
from models.spec.patching import patched
from models.spec.problems import SpecError
from models.spec.training import EarlyStopping

Patch = dict[str, Any]
Fields = dict[str, Any]
Mend = Callable[[str, Fields], Fields]

RECURRENT = ("simple_rnn", "lstm", "gru")
SATURATING = ("sigmoid", "tanh", "softplus", "softmax")
HE_NORMAL, GLOROT_UNIFORM, ZEROS = {"type": "he_normal"}, {"type": "glorot_uniform"}, {"type": "zeros"}
# Their spread follows from the width of the layer.
SCALED = (
    *("glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_normal", "lecun_uniform"),
    *("orthogonal", "variance_scaling"),
)
KERNELS = ("kernel_initializer", "depthwise_initializer", "pointwise_initializer")
WIDER_DENSE, WIDER_CONVOLUTION = 64, 32
MORE_EXAMPLES = 10
PATIENCE = 3
DROPOUT, PENALTY = 0.4, 0.0005


def with_relu(spec: JobSpec) -> Patch:
    """Hidden layers with relu and He's initial weights; recurrent ones keep their activation."""
    hidden = _hidden(spec)

    def mend(name: str, fields: Fields) -> Fields:
        if name not in hidden or fields["type"] in RECURRENT:
            return _initialized(fields, GLOROT_UNIFORM)
        activation = fields.get("activation")
        if activation is not None and activation["type"] in SATURATING:
            fields = {**fields, "activation": {"type": "relu"}}
        return _initialized(fields, HE_NORMAL)

    return _network(spec, mend)


def with_living_units(spec: JobSpec) -> tuple[Patch, bool]:
    """Biases of zero and He's initial weights; where units died of themselves leaky relu as well, and True."""
    planted = any(_kills(fields) for fields in _layers(spec).values())
    hidden = _hidden(spec)

    def mend(name: str, fields: Fields) -> Fields:
        activation = fields.get("activation")
        if not planted and activation is not None and activation["type"] == "relu":
            fields = {**fields, "activation": {"type": "leaky_relu"}}
        return _initialized(fields, HE_NORMAL if name in hidden else GLOROT_UNIFORM)

    return _network(spec, mend), not planted


def with_scaled_weights(spec: JobSpec) -> Patch:
    """He's initial weights in place of those whose spread does not follow from the width; {} where there are none."""
    fields = _layers(spec).values()
    if all(each.get(name, HE_NORMAL)["type"] in SCALED for each in fields for name in KERNELS):
        return {}
    hidden = _hidden(spec)
    return _network(spec, lambda name, each: _initialized(each, HE_NORMAL if name in hidden else GLOROT_UNIFORM))


def with_width(spec: JobSpec, layer: str, below: float) -> Patch:
    """64 units, or 32 filters, in `layer`, and so many units in every hidden layer that has fewer than `below`.

    {} where that does not fit, as where branches are added that must have one shape.
    """
    hidden = _hidden(spec)

    def mend(name: str, fields: Fields) -> Fields:
        if name == layer and "filters" in fields:
            return {**fields, "filters": max(WIDER_CONVOLUTION, fields["filters"])}
        narrow = name in hidden and fields.get("units", below) < below
        return {**fields, "units": WIDER_DENSE} if narrow else fields

    patch = _network(spec, mend)
    try:
        patched(spec, patch)
    except SpecError:
        return {}
    return patch


def with_hidden_layer(spec: JobSpec) -> Patch:
    """One more layer before the outputs; {} for a graph."""
    more = {"type": "dense", "units": WIDER_DENSE, "activation": {"type": "relu"}, "kernel_initializer": HE_NORMAL}
    return _before_outputs(spec, more)


def against_overfitting(spec: JobSpec) -> Patch:
    """More examples where the spec leaves some out, else dropout before the outputs; and to stop in time."""
    return {**(_more_examples(spec) or _dropout(spec)), **_stopping(spec)}


def _more_examples(spec: JobSpec) -> Patch:
    size = spec.dataset.train_size
    count = train_count(spec.dataset)
    most = count - held_out(count, spec.dataset.validation)
    if size is None or size >= most:
        return {}
    return {"/dataset/train_size": min(most, size * MORE_EXAMPLES)}


def _dropout(spec: JobSpec) -> Patch:
    """Dropout before the outputs; where there is some already, and in a graph, a penalty on the weights."""
    drops = any(fields["type"] == "dropout" for fields in _layers(spec).values())
    added = {} if drops else _before_outputs(spec, {"type": "dropout", "rate": DROPOUT})
    return added or _network(spec, lambda _, fields: _penalized(fields))


def _penalized(fields: Fields) -> Fields:
    if fields.get("kernel_regularizer", fields) is None:
        return {**fields, "kernel_regularizer": {"type": "l2", "l2": PENALTY}}
    return fields


def _stopping(spec: JobSpec) -> Patch:
    if spec.early_stopping is not None:
        return {"/early_stopping/restore_best_weights": True}
    stopping = EarlyStopping(monitor="val_loss", patience=PATIENCE, restore_best_weights=True)
    return {"/early_stopping": stopping.model_dump(mode="json")}


def with_scaled_pixels(spec: JobSpec) -> Patch:
    """Pixels from 0 to 1 where they are left as they are; {} for other data."""
    raw = isinstance(spec.dataset, ImageDataset) and spec.dataset.scaling == "none"
    return {"/dataset/scaling": "unit"} if raw else {}


def with_rate(rate: float) -> Patch:
    """A constant learning rate."""
    return {"/optimizer/learning_rate": rate}


def with_clipping(spec: JobSpec) -> Patch:
    """Gradients of a norm of at most 1; {} where they are clipped already."""
    given = spec.optimizer
    clipped = any(bound is not None for bound in (given.clipnorm, given.clipvalue, given.global_clipnorm))
    return {} if clipped else {"/optimizer/clipnorm": 1.0}


def _initialized(fields: Fields, kernel: Fields) -> Fields:
    """The layer with that kernel and a bias of zero, as far as it has them."""
    changed = {name: kernel for name in KERNELS if name in fields}
    if "bias_initializer" in fields:
        changed["bias_initializer"] = ZEROS
    return {**fields, **changed}


def _kills(fields: Fields) -> bool:
    """Whether a layer begins with weights under which units may never answer."""
    bias = fields.get("bias_initializer", ZEROS)
    kernels = [fields[name] for name in KERNELS if name in fields]
    return bias != ZEROS or any(kernel["type"] not in SCALED for kernel in kernels)


def _written(spec: JobSpec) -> Fields:
    return spec.written_network.model_dump(mode="json")


def _layers(spec: JobSpec) -> dict[str, Fields]:
    """The fields of each layer by its name, in the order of the network."""
    return {node.name: node.layer.model_dump(mode="json") for node in spec.nodes}


def _output(spec: JobSpec) -> str:
    """The layer whose units are the outputs."""
    return [name for name, fields in _layers(spec).items() if "units" in fields or "filters" in fields][-1]


def _hidden(spec: JobSpec) -> set[str]:
    """The layers before that one."""
    names = [node.name for node in spec.nodes]
    return set(names[: names.index(_output(spec))])


def _before_outputs(spec: JobSpec, more: Fields) -> Patch:
    """A chain of layers with one more before the outputs; {} for a graph."""
    if "graph" in _written(spec):
        return {}
    output = _output(spec)
    parts = ([more, fields] if name == output else [fields] for name, fields in _layers(spec).items())
    return {"/network": {"layers": [part for both in parts for part in both]}}


def _network(spec: JobSpec, mend: Mend) -> Patch:
    """Every layer after `mend`, at the pointer of the network's own form; a preset is written out."""
    mended = {name: mend(name, fields) for name, fields in _layers(spec).items()}
    written = _written(spec)
    is_graph = "graph" in written
    graph = {name: {**node, "layer": mended[name]} for name, node in written["graph"].items()} if is_graph else {}
    key, value = ("graph", graph) if is_graph else ("layers", list(mended.values()))
    return {"/network": {key: value}} if isinstance(spec.network, Preset) else {f"/network/{key}": value}
