"""A network's picture says everything, is the same each time, and no line of it runs through a box or upon another."""

import itertools
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.spec.shapes import LayerSummary
from tests.factories.examples import examples
from worker.diagram import draw_network
from worker.diagram_layout import BOX_HEIGHT, BOX_WIDTH, HEADER, Graph, Layout, Point, lay_out

SVG = "{http://www.w3.org/2000/svg}"
INPUT_SHAPE = (28, 28, 1)


def layer(name: str, inputs: Sequence[str], type_: str = "dense", detail: str = "", **figures: int) -> LayerSummary:
    parameters = figures.get("parameters", 0)
    return LayerSummary(
        name=name,
        type=type_,
        detail=detail,
        inputs=list(inputs),
        output_shape=(14, 14, figures.get("channels", 8)),
        parameters=parameters,
        trainable_parameters=figures.get("trainable", parameters),
        multiply_adds=figures.get("multiply_adds", 0),
    )


def chain(length: int) -> list[LayerSummary]:
    names = ["input", *(f"batch_normalization_{number}" for number in range(1, length + 1))]
    return [
        layer(name, [before], "batch_normalization", parameters=1_024, trainable=512)
        for before, name in itertools.pairwise(names)
    ]


def residual(blocks: int) -> list[LayerSummary]:
    """Every other block has a projection in its shortcut."""
    layers, before = [], "input"
    for block in range(1, blocks + 1):
        conv, shortcut, add = f"block{block}_conv", f"block{block}_shortcut", f"block{block}_add"
        layers += [layer(conv, [before], "conv2d", "16, 3x3, relu, same", parameters=2_320)]
        layers += [layer(f"{conv}_2", [conv], "conv2d", "16, 3x3, relu, same", parameters=2_320)]
        if block % 2:
            layers += [layer(shortcut, [before], "conv2d", "16, 1x1", parameters=272)]
        layers += [layer(add, [f"{conv}_2", shortcut if block % 2 else before], "add", channels=16)]
        before = add
    return layers


def branches() -> list[LayerSummary]:
    return [
        layer("one", ["input"], "conv2d", parameters=80),
        layer("reduce", ["input"], "conv2d", parameters=80, trainable=0),
        layer("three", ["reduce"], "conv2d", "8, 3x3", parameters=1_234_567, multiply_adds=7_654_321),
        layer("pool", ["input"], "max_pooling2d", "2x2"),
        layer("all", ["one", "three", "pool"], "concatenate", channels=24),
        layer("global_average_pooling2d_1", ["all"], "global_average_pooling2d"),
    ]


def texts(picture: bytes) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(picture).iter(f"{SVG}text")]


def ids(picture: bytes, kind: str) -> list[str]:
    found = [element.get("id", "") for element in ET.fromstring(picture).iter(f"{SVG}g")]
    return [id_ for id_ in found if id_.startswith(f"{kind}-")]


@pytest.mark.parametrize("layers", [chain(1), chain(8), chain(75), residual(3), residual(12), branches()])
def test_every_layer_and_edge_is_there(layers: list[LayerSummary]) -> None:
    picture = draw_network(layers, INPUT_SHAPE, "a network")
    said = texts(picture)
    for each in layers:
        assert each.name in said
        sizes = f"14 × 14 × {each.output_shape[-1]}  ·  {each.parameters:,} "
        assert any(text.startswith(sizes) for text in said)
        assert any(each.detail in text for text in said)
    assert {"a network", "input", "28 × 28 × 1"} <= set(said)
    assert len(ids(picture, "layer")) == 1 + len(layers)
    assert len(ids(picture, "edge")) == sum(len(each.inputs) for each in layers)


def test_figures_are_written_out() -> None:
    said = texts(draw_network(branches(), INPUT_SHAPE, ""))
    assert "6 layers  ·  1,234,727 parameters, 1,234,647 trainable" in said
    assert "7,654,321 multiply-adds for one example" in said
    assert "14 × 14 × 8  ·  80 frozen" in said
    assert said.count("14 × 14 × 8  ·  80 parameters") == 1
    assert "conv2d: 8, 3x3" in said
    assert "concatenate" in said


def test_same_arguments_same_bytes() -> None:
    assert draw_network(residual(3), INPUT_SHAPE, "x") == draw_network(residual(3), INPUT_SHAPE, "x")


@pytest.mark.parametrize(
    "title",
    [
        "",
        "$x_1$ and $",
        r"\frac{1}{2} ^ _ \$",
        "</text><script>alert('&amp;')</script>]]>",
        "數字 😀 नमस्ते مرحبا שלום ไทย",
        "\x00\x08\n\t\x1b\ud800\uffff\u202e",
        "W" * 5_000,
    ],
)
def test_any_title_and_name_is_harmless(title: str) -> None:
    layers = [layer(title or "-", ["input"], detail=title), layer("last", [title or "-"])]
    picture = draw_network(layers, INPUT_SHAPE, title)
    root = ET.fromstring(picture)
    assert not any("script" in element.tag or "on" in element.attrib for element in root.iter())
    assert "last" in texts(picture)


@pytest.mark.parametrize("title", ["$x_1$ < $", "</text><script>", "數字 😀 نص"])
def test_a_short_title_is_kept_as_it_is(title: str) -> None:
    assert title in texts(draw_network(chain(1), INPUT_SHAPE, title))


def test_what_is_too_long_is_cut() -> None:
    said = texts(draw_network([layer("m" * 64, ["input"], detail="w" * 500)], INPUT_SHAPE, "W" * 500))
    assert sum(text.endswith("…") for text in said) == 3
    assert max(map(len, said)) < 70


@pytest.mark.parametrize("layers", [chain(200), residual(57)])
def test_200_layers_make_a_page(layers: list[LayerSummary]) -> None:
    assert len(layers) == 200
    assert len(draw_network(layers, INPUT_SHAPE, "deep")) < 300_000
    layout = lay_out({"input": [], **{each.name: each.inputs for each in layers}})
    assert 0.5 < layout.width / layout.height < 2


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Mostly a chain, with shortcuts and branches; a node may take another twice."""
    inputs: dict[str, list[str]] = {"input": []}
    for number in range(draw(st.integers(1, 70))):
        names = list(inputs)
        back = draw(st.lists(st.one_of(st.just(1), st.integers(1, 6), st.integers(1, 70)), min_size=1, max_size=4))
        inputs[f"node_{number}"] = [names[-min(step, len(names))] for step in back]
    return inputs


@settings(deadline=None, max_examples=examples(60))
@given(graphs())
def test_nothing_covers_anything(inputs: Graph) -> None:
    check(inputs, lay_out(inputs))


@pytest.mark.parametrize("layers", [chain(75), residual(12), branches()])
def test_nothing_covers_anything_in_real_networks(layers: list[LayerSummary]) -> None:
    inputs = {"input": [], **{each.name: each.inputs for each in layers}}
    check(inputs, lay_out(inputs))


def test_a_chain_is_straight_and_branches_are_side_by_side() -> None:
    straight = lay_out({"input": [], "a": ["input"], "b": ["a"]})
    assert [len(arrow.points) for arrow in straight.arrows] == [2, 2]
    beside = lay_out({"input": [], "a": ["input"], "b": ["input"], "sum": ["a", "b"]}).boxes
    assert beside["a"][1] == beside["b"][1]
    assert beside["input"][1] < beside["a"][1] < beside["sum"][1]


def check(inputs: Graph, layout: Layout) -> None:
    assert [(arrow.source, arrow.target) for arrow in layout.arrows] == [
        (source, target) for target, sources in inputs.items() for source in sources
    ]
    corners = list(layout.boxes.values())
    assert len(corners) == len(inputs)
    assert all(0 <= x <= layout.width - BOX_WIDTH and HEADER <= y <= layout.height - BOX_HEIGHT for x, y in corners)
    for (x, y), (other_x, other_y) in itertools.combinations(corners, 2):
        assert abs(x - other_x) >= BOX_WIDTH or abs(y - other_y) >= BOX_HEIGHT

    pieces: list[tuple[str, Point, Point]] = []
    for arrow in layout.arrows:
        (left, top), (target_left, target_top) = layout.boxes[arrow.source], layout.boxes[arrow.target]
        assert arrow.points[0] == (left + BOX_WIDTH / 2, top + BOX_HEIGHT)
        end_x, end_y = arrow.points[-1]
        assert end_y == target_top
        assert target_left + 5 < end_x < target_left + BOX_WIDTH - 5
        for start, end in itertools.pairwise(arrow.points):
            assert (start[0] == end[0]) != (start[1] == end[1])
            assert all(0 < x < layout.width and HEADER <= y < layout.height for x, y in (start, end))
            assert not any(enters(start, end, corner) for corner in corners)
            pieces.append((arrow.source, start, end))
    # Only lines of one direction at one height, or one distance from the left, can be upon each other.
    beside: dict[tuple[int, float], list[tuple[str, Point, Point]]] = defaultdict(list)
    for source, start, end in set(pieces):
        across = 0 if start[0] == end[0] else 1
        beside[across, start[across]].append((source, start, end))
    for those in beside.values():
        for (source, *piece), (other_source, *other) in itertools.combinations(those, 2):
            assert source == other_source or not on_top((piece[0], piece[1]), (other[0], other[1]))


def enters(start: Point, end: Point, corner: Point) -> bool:
    """Whether a line comes into a box; ends may touch its edge."""
    (x1, x2), (y1, y2) = sorted((start[0], end[0])), sorted((start[1], end[1]))
    x, y = corner
    return x1 < x + BOX_WIDTH and x2 > x and y1 < y + BOX_HEIGHT and y2 > y


def on_top(piece: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    """Whether two lines of the same direction share more than a crossing."""
    for along, across in ((0, 1), (1, 0)):
        if len({point[across] for point in (*piece, *other)}) == 1:
            (low, high), (other_low, other_high) = (sorted(p[along] for p in line) for line in (piece, other))
            return low <= other_high and other_low <= high
    return False
