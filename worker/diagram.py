"""Draws a network as a picture: a box a layer, an arrow an edge, from top to bottom."""

import io
import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from models.spec.network import INPUT
from models.spec.shapes import LayerSummary
from worker.diagram_layout import BOX_HEIGHT, BOX_WIDTH, MARGIN, Arrow, Point, lay_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

LEAST_WIDTH = 320.0  # in points
MOST_LETTERS = 120
INK, QUIET, LINE = "#1f2937", "#5b6472", "#6b7280"

# By a word in the type's name, so that a new layer has its colour by itself; the first that fits counts.
COLOURS = (
    (("conv",), "#d9efdf"),
    (("dense",), "#dbe8f8"),
    (("pooling",), "#fbe6d0"),
    (("normalization",), "#e8e2f4"),
    (("rnn", "lstm", "gru"), "#d3eeee"),
    (("dropout", "noise"), "#f7f0c8"),
    (("add", "concatenate"), "#f6dbe0"),
    (("flatten", "reshape"), "#e6e8eb"),
)
OTHER_COLOUR = "#f3f4f6"

_drawing = threading.Lock()  # Matplotlib's font and text caches are not made for several threads


def draw_network(layers: Sequence[LayerSummary], input_shape: tuple[int, ...], title: str) -> bytes:
    """The network as an SVG file; the same bytes for the same arguments.

    Args:
        layers: the layers, each after those that feed it.
        input_shape: of one example, without the batch.
        title: any text; what does not fit is cut, what the font lacks is left to the viewer's fonts.
    """
    with _drawing, _settings():
        file = io.BytesIO()
        # A date would differ each time.
        metadata = {"Date": None, "Creator": None, "Title": _printable(title)}
        figure_of(layers, input_shape, title).savefig(file, format="svg", metadata=metadata)
    return file.getvalue()


def figure_of(layers: Sequence[LayerSummary], input_shape: tuple[int, ...], title: str) -> "Figure":
    """The picture as a Matplotlib figure, one point of it a dot; see `draw_network`."""
    from matplotlib.figure import Figure
    from matplotlib.transforms import Affine2D

    layout = lay_out({INPUT: [], **{layer.name: layer.inputs for layer in layers}})
    width = max(layout.width, LEAST_WIDTH)
    figure = Figure(figsize=(width / 72, layout.height / 72), dpi=72)
    page = Affine2D().scale(1 / 72, -1 / 72).translate(0, layout.height / 72) + figure.dpi_scale_trans
    room = width - 2 * MARGIN
    _write(figure, page, (width / 2, 20), title, 12, room, bold=True)
    for y, line in zip((36, 49), _totals(layers), strict=True):
        _write(figure, page, (width / 2, y), line, 8, room, colour=QUIET)

    centred = Affine2D().translate((width - layout.width) / 2, 0) + page
    for number, arrow in enumerate(layout.arrows, start=1):
        _draw_arrow(figure, centred, arrow, f"edge-{number}")
    _draw_box(figure, centred, layout.boxes[INPUT], "layer-0", "#ffffff", (INPUT, "", _size(input_shape)))
    for number, layer in enumerate(layers, start=1):
        texts = layer.name, _detail(layer), f"{_size(layer.output_shape)}  ·  {_weights(layer)}"
        _draw_box(figure, centred, layout.boxes[layer.name], f"layer-{number}", _colour(layer.type), texts)
    return figure


def _totals(layers: Sequence[LayerSummary]) -> tuple[str, str]:
    parameters = sum(layer.parameters for layer in layers)
    trainable = sum(layer.trainable_parameters for layer in layers)
    work = sum(layer.multiply_adds for layer in layers)
    count = "1 layer" if len(layers) == 1 else f"{len(layers)} layers"
    return f"{count}  ·  {parameters:,} parameters, {trainable:,} trainable", f"{work:,} multiply-adds for one example"


def _detail(layer: LayerSummary) -> str:
    """What the layer's name leaves open: in a graph, names are free."""
    told = layer.name.startswith(layer.type)
    return layer.detail if told else ": ".join(filter(None, (layer.type, layer.detail)))


def _weights(layer: LayerSummary) -> str:
    frozen = layer.trainable_parameters == 0 < layer.parameters
    return f"{layer.parameters:,} {'frozen' if frozen else 'parameters'}"


def _size(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _colour(type_: str) -> str:
    return next((colour for words, colour in COLOURS if any(word in type_ for word in words)), OTHER_COLOUR)


def _draw_box(
    figure: "Figure", page: "Transform", corner: Point, gid: str, colour: str, texts: tuple[str, str, str]
) -> None:
    """A rounded box with a name, perhaps a detail, and figures in it."""
    from matplotlib.patches import BoxStyle, FancyBboxPatch

    style = BoxStyle.Round(pad=0, rounding_size=5)
    box = FancyBboxPatch(
        corner, BOX_WIDTH, BOX_HEIGHT, style, fc=colour, ec=QUIET, lw=0.7, joinstyle="round", transform=page
    )
    box.set_gid(gid)
    figure.add_artist(box)
    name, detail, figures = texts
    x, y, room = corner[0] + BOX_WIDTH / 2, corner[1], BOX_WIDTH - 10
    _write(figure, page, (x, y + (13.5 if detail else 19)), name, 8.5, room, bold=True)
    if detail:
        _write(figure, page, (x, y + 25.5), detail, 7.5, room)
    _write(figure, page, (x, y + (37 if detail else 32.5)), figures, 7, room, colour=QUIET)


def _draw_arrow(figure: "Figure", page: "Transform", arrow: Arrow, gid: str) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    points = arrow.points
    vertices, codes = [points[0]], [Path.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        vertices += [_toward(corner, before), corner, _toward(corner, after)]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    line = Path([*vertices, points[-1]], [*codes, Path.LINETO])
    patch = FancyArrowPatch(path=line, arrowstyle="-|>", mutation_scale=7, lw=0.9, color=LINE, transform=page)
    patch.set_capstyle("butt")
    patch.set_gid(gid)
    figure.add_artist(patch)


def _toward(corner: Point, other: Point) -> Point:
    """Where the rounding of a corner begins."""
    length = math.dist(corner, other)
    share = min(4.0, length / 2) / length
    return corner[0] + share * (other[0] - corner[0]), corner[1] + share * (other[1] - corner[1])


def _write(
    figure: "Figure",
    page: "Transform",
    middle: Point,
    text: str,
    size: float,
    room: float,
    *,
    colour: str = INK,
    bold: bool = False,
) -> None:
    """One line of text, cut to the room it has."""
    from matplotlib.text import Text

    weight: Literal["bold", "normal"] = "bold" if bold else "normal"
    text = _cut(_printable(text), size, weight, room)
    # Text is not searched for formulas: a $ is a $.
    figure.add_artist(
        Text(*middle, text, fontsize=size, weight=weight, color=colour, ha="center", parse_math=False, transform=page)
    )


def _printable(text: str) -> str:
    """Without what XML does not allow, and not for ever."""
    if len(text) > MOST_LETTERS:
        text = f"{text[: MOST_LETTERS - 1]}…"
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _cut(text: str, size: float, weight: Literal["bold", "normal"], room: float) -> str:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font, kept = FontProperties(size=size, weight=weight), text
    while kept and text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] > room:
        kept = kept[:-1]
        text = f"{kept.rstrip()}…"
    return text


@contextmanager
def _settings() -> Iterator[None]:
    """Text stays text and can be searched; it may be in any script, what the font lacks is no reason to warn."""
    import matplotlib as mpl

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "network",
        "font.family": ["sans-serif"],
        "font.sans-serif": ["DejaVu Sans"],
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield
