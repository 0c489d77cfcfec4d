"""Whether the layers fit each other, the data and the loss."""

from collections.abc import Iterator, Sequence

from models.spec.checks.fault import Fault
from models.spec.data import class_labels_of, is_regression, shape_of
from models.spec.initializers import RandomUniform
from models.spec.job import JobSpec
from models.spec.layers.base import Misfit
from models.spec.network import Node, Preset
from models.spec.shapes import LayerSummary, trace
from models.spec.training import SINGLE_OUTPUT_LOSSES

MAX_PARAMETERS = 50_000_000


def network_faults(spec: JobSpec) -> Iterator[Fault]:
    """Layers that cannot take their input, too many parameters, an output of the wrong width."""
    nodes = spec.nodes
    facts, misfit = trace(nodes, shape_of(spec.dataset))
    if misfit:
        yield _misfit(spec, nodes[len(facts)], misfit)
    for node in nodes:
        yield from _initializers(node)
    for node, summary in zip(nodes, facts, strict=False):
        yield from _softmax_over_one(node, summary)
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


def _misfit(spec: JobSpec, node: Node, misfit: Misfit) -> Fault:
    if isinstance(spec.network, Preset):
        detail = f"{spec.network.preset} cannot take this data, in its layer {node.name}: {misfit.detail}"
        return Fault(node.at(), "shape", detail, spec.network.preset, "preset")
    if not misfit.field:
        return Fault(node.at(), "shape", misfit.detail, node.layer.type, "type")
    received = list(node.inputs) if misfit.field == "inputs" else getattr(node.layer, misfit.field)
    return Fault(node.at(misfit.field), "shape", misfit.detail, received, misfit.field)


def _initializers(node: Node) -> Iterator[Fault]:
    for name in type(node.layer).model_fields:
        match getattr(node.layer, name):
            case RandomUniform(minval=minval, maxval=maxval) if maxval < minval:
                detail = f"maxval must be at least minval, {minval}"
                yield Fault(node.at(name, "maxval"), "too_small", detail, maxval)


def _softmax_over_one(node: Node, summary: LayerSummary) -> Iterator[Fault]:
    for name in ("activation", "recurrent_activation"):
        activation = getattr(node.layer, name, None)
        if activation and activation.type == "softmax" and summary.output_shape[-1] == 1:
            detail = "softmax over one value is always 1: use sigmoid, or more outputs"
            yield Fault(node.at(name), "invalid", detail, "softmax")


def _outputs(spec: JobSpec, nodes: Sequence[Node], facts: list[LayerSummary]) -> Iterator[Fault]:
    """Whether what comes out fits loss and classes; the fault is the layer's that set the width."""
    shape, classes = facts[-1].output_shape, len(class_labels_of(spec.dataset))
    regression = is_regression(spec.dataset)
    single = regression or (classes == 2 and spec.loss.type in SINGLE_OUTPUT_LOSSES)
    wanted = "1 output" if regression else f"{classes} outputs" + (" or 1" if single else "")
    sets_width = [node for node in nodes if not node.layer.keeps_shape]
    place = (sets_width or nodes)[-1].at()
    if len(shape) != 1:
        detail = f"the network must end in {wanted} in a row: put a flatten before the last dense layer"
        yield Fault(place, "output_shape", detail, list(shape), "output_shape")
    elif shape[0] != classes and not (single and shape[0] == 1):
        task = "a regression" if regression else f"{spec.loss.type} over {classes} classes"
        detail = f"{task} needs a network that ends in {wanted}"
        yield Fault(place, "output_shape", detail, shape[0], "outputs")
    elif not any(layer.trainable_parameters for layer in facts):
        yield Fault(
            place,
            "invalid",
            "the network has nothing to learn: add a dense or conv2d layer, or let one be trainable",
            0,
            "parameters",
        )
