"""Whether the layers fit each other, the data and the loss."""

from collections.abc import Iterator, Sequence

from models.spec.checks.fault import Fault
from models.spec.data import class_labels_of, shape_of
from models.spec.initializers import RandomUniform
from models.spec.job import JobSpec
from models.spec.layers import ActivationLayer, Conv2D, Dense, Flatten
from models.spec.network import Node
from models.spec.shapes import LayerSummary, trace

MAX_PARAMETERS = 50_000_000


def network_faults(spec: JobSpec) -> Iterator[Fault]:
    """Layers that cannot take their input, too many parameters, an output of the wrong width."""
    nodes = spec.nodes
    facts, misfit = trace(nodes, shape_of(spec.dataset))
    if misfit:
        node = nodes[len(facts)]
        path = node.at(misfit.field) if misfit.field else node.at()
        received = getattr(node.layer, misfit.field, node.layer.type)
        yield Fault(path, "shape", misfit.detail, received, misfit.field or "type")
    for node in nodes:
        yield from _initializers(node)
    for node, summary in zip(nodes, facts, strict=False):
        layer = node.layer
        softmax = isinstance(layer, Dense | Conv2D | ActivationLayer) and layer.activation.type == "softmax"
        if softmax and summary.output_shape[-1] == 1:
            detail = "softmax over one value is always 1: use sigmoid, or more outputs"
            yield Fault(node.at("activation"), "invalid", detail, "softmax")
    total = sum(layer.parameters for layer in facts)
    if total > MAX_PARAMETERS:
        largest = max(range(len(facts)), key=lambda n: facts[n].parameters)
        detail = (
            f"the network would have {total:,} parameters of at most {MAX_PARAMETERS:,}, "
            f"most of them in {facts[largest].name} ({facts[largest].parameters:,})"
        )
        yield Fault(nodes[largest].at(), "too_large", detail, total, "parameters")
    if not misfit:
        yield from _outputs(spec, nodes, facts)


def _initializers(node: Node) -> Iterator[Fault]:
    for name in ("kernel_initializer", "bias_initializer"):
        match getattr(node.layer, name, None):
            case RandomUniform(minval=minval, maxval=maxval) if maxval < minval:
                detail = f"maxval must be at least minval, {minval}"
                yield Fault(node.at(name, "maxval"), "too_small", detail, maxval)


def _outputs(spec: JobSpec, nodes: Sequence[Node], facts: list[LayerSummary]) -> Iterator[Fault]:
    """Whether what comes out fits loss and classes; the fault is the layer's that set the width."""
    shape, classes = facts[-1].output_shape, len(class_labels_of(spec.dataset))
    single = classes == 2 and spec.loss.type in ("binary_crossentropy", "mean_squared_error")
    wanted = f"{classes} outputs" + (" or 1" if single else "")
    sets_width = [node for node in nodes if isinstance(node.layer, Dense | Conv2D | Flatten)]
    place = (sets_width or nodes)[-1].at()
    if len(shape) != 1:
        detail = f"the network must end in {wanted} in a row: put a flatten before the last dense layer"
        yield Fault(place, "output_shape", detail, list(shape), "output_shape")
    elif shape[0] != classes and not (single and shape[0] == 1):
        detail = f"{spec.loss.type} over {classes} classes needs a network that ends in {wanted}"
        yield Fault(place, "output_shape", detail, shape[0], "outputs")
    elif not any(layer.trainable_parameters for layer in facts):
        yield Fault(place, "invalid", "the network has nothing to learn: add a dense or conv2d layer", 0, "parameters")
