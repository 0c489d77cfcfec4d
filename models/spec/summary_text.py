"""The summary of a network as a table in plain text, in the manner of Keras's own."""

from collections.abc import Sequence

from models.spec.shapes import LayerSummary
from models.spec.summary import Summary

HEADINGS = ("layer", "type", "inputs", "output shape", "parameters", "trainable")


def summary_text(summary: Summary) -> str:
    """A line a layer, numbers to the right, and the totals."""
    rows = [HEADINGS, *map(_row, summary.layers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    fixed = summary.parameters - summary.trainable_parameters
    lines += [
        "-" * max(map(len, lines)),
        f"parameters: {summary.parameters:,} ({summary.trainable_parameters:,} trainable, {fixed:,} not)",
        f"multiply-adds for one example: {summary.multiply_adds:,}",
        f"steps an epoch: {summary.steps_per_epoch:,}",
        f"memory in training, about: {summary.memory_bytes / 1e6:,.1f} MB",
    ]
    return "\n".join(lines) + "\n"


def _row(layer: LayerSummary) -> tuple[str, ...]:
    described = f"{layer.type} ({layer.detail})" if layer.detail else layer.type
    shape = " x ".join(map(str, layer.output_shape))
    return (
        layer.name,
        described,
        ", ".join(layer.inputs),
        shape,
        f"{layer.parameters:,}",
        f"{layer.trainable_parameters:,}",
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    texts = [text.ljust(width) for text, width in zip(row[:4], widths[:4], strict=True)]
    numbers = [text.rjust(width) for text, width in zip(row[4:], widths[4:], strict=True)]
    return "  ".join([*texts, *numbers])
