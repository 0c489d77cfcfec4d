"""Finds places for the boxes and lines of a picture of a network, so that no line meets a box."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

BOX_WIDTH, BOX_HEIGHT = 168.0, 44.0  # everything is in points
MARGIN, HEADER = 18.0, 62.0
TRACK = 8.0  # from one line to the next beside it
LINE_ABOVE, LINE_BELOW, LEAST_GAP = 9.0, 13.0, 24.0  # between two rows; an arrow's head needs room below
BETWEEN_COLUMNS, BETWEEN_STRIPS = 20.0, 40.0
LONGEST_UNFOLDED, LEAST_FOLDED, MOST_FOLDED = 30, 20, 36  # rows

Point = tuple[float, float]
Edge = tuple[str, str]
"""Source and target."""
Graph = Mapping[str, Sequence[str]]
"""The nodes, each with those that feed it, which come earlier."""


@dataclass(frozen=True)
class Arrow:
    """An edge as a line of right angles."""

    source: str
    target: str
    points: list[Point]
    """From the middle of the source's lower side to a place on the target's upper side."""


@dataclass(frozen=True)
class Layout:
    """Upper left corners of boxes, and arrows between them; x to the right, y downwards, in points."""

    width: float
    height: float
    boxes: dict[str, Point]
    arrows: list[Arrow]


@dataclass(eq=False)
class _Lane:
    """A vertical line: down the middle of a column, or beside columns over some channels, at x once that is known."""

    gutter: int
    first: int
    last: int
    x: float = 0.0


class _Turn(NamedTuple):
    """An edge changes in a channel from one x to another."""

    channel: int
    start: float
    end: float


@dataclass
class _Bar:
    """The horizontal line of a source in a channel: the x at which it meets lines from above and from below."""

    ups: set[float] = field(default_factory=set)
    downs: set[float] = field(default_factory=set)

    @property
    def left(self) -> float:
        """Its left end."""
        return min(self.ups | self.downs)

    @property
    def right(self) -> float:
        """Its right end."""
        return max(self.ups | self.downs)

    def crossings_above(self, lower: "_Bar") -> int:
        """How often the two cross when this one is above."""
        return sum(lower.left < x < lower.right for x in self.downs) + sum(
            self.left < x < self.right for x in lower.ups
        )

    def clear_of(self, other: "_Bar") -> bool:
        """Whether there is room for both at the same height."""
        return self.left > other.right + TRACK / 2 or other.left > self.right + TRACK / 2


@dataclass(frozen=True)
class _Grid:
    """Places in rows and columns. Deep networks are folded: each strip of rows has columns of its own."""

    cells: dict[str, tuple[int, int]]
    strips: dict[str, int]
    rows: list[int]
    """How many, by strip."""
    starts: list[int]
    """First column, by strip; one more at the end."""


@dataclass
class _Routes:
    """Which way edges go."""

    middles: list[_Lane]
    """Of the columns."""
    taken: set[tuple[int, int]]
    """Cells with a box or a line in them."""
    lanes: list[_Lane] = field(default_factory=list)
    """Beside columns."""
    steps: dict[Edge, list[tuple[int, _Lane]]] = field(default_factory=dict)
    """For each edge the lanes it changes to before its last row, and the channels in which it does so."""


def lay_out(inputs: Graph) -> Layout:
    """Places for the boxes and arrows of a graph.

    Rows follow from the longest path to a node. Lines are vertical beside the columns of boxes (in gutters) or in empty
    cells, horizontal between rows (in channels; number n is above row n), so that none can meet a box; lines of
    different sources cross but never run on top of each other.

    Args:
        inputs: for each node the nodes that feed it, which come earlier.
    """
    grid = _grid(inputs)
    routes = _routes(inputs, grid)
    width = _place_lanes(grid, routes)
    ways = [(edge, _way(grid, routes, edge, port)) for edge, port in _ports(inputs, grid, routes)]
    bends, tops, height = _heights(ways, max(grid.rows))

    boxes = {name: (routes.middles[column].x - BOX_WIDTH / 2, tops[row]) for name, (row, column) in grid.cells.items()}
    return Layout(width, height, boxes, [_arrow(way, edge, boxes, bends) for edge, way in ways])


def _grid(inputs: Graph) -> _Grid:
    ranks: dict[str, int] = {}
    last_uses = dict.fromkeys(inputs, 0)
    for name, feeders in inputs.items():
        ranks[name] = 1 + max((ranks[feeder] for feeder in feeders), default=-1)
        last_uses.update({feeder: max(last_uses[feeder], ranks[name]) for feeder in feeders})
    columns = _columns(inputs, ranks, last_uses)
    breadth = max(columns.values()) - min(columns.values()) + 1
    firsts = _folds(ranks, last_uses, breadth)
    strips = {name: sum(rank >= first for first in firsts[1:]) for name, rank in ranks.items()}

    cells, rows, starts = {}, [], [0]
    for strip, first in enumerate(firsts):
        members = [name for name in inputs if strips[name] == strip]
        left = min(columns[name] for name in members)
        for name in members:
            cells[name] = (ranks[name] - first, starts[-1] + columns[name] - left)
        rows.append(1 + max(cells[name][0] for name in members))
        starts.append(1 + max(cells[name][1] for name in members))
    return _Grid(cells, strips, rows, starts)


def _columns(inputs: Graph, ranks: Mapping[str, int], last_uses: Mapping[str, int]) -> dict[str, int]:
    """The longest path in column 0, then what remains path by path, each near the node that it starts from."""
    columns: dict[str, int] = {}
    taken: set[tuple[int, int]] = set()
    for end in sorted(inputs, key=lambda name: -ranks[name]):
        if end in columns:
            continue
        path = [end]
        while free := [feeder for feeder in inputs[path[0]] if feeder not in columns]:
            path.insert(0, max(free, key=lambda name: ranks[name]))
        rows = range(ranks[path[0]], max(ranks[end] + 1, last_uses[end]))
        near = columns[inputs[path[0]][0]] if inputs[path[0]] else 0
        sides = (near + side * step for step in itertools.count() for side in (1, -1))
        column = next(side for side in sides if not any((row, side) in taken for row in rows))
        taken.update((row, column) for row in rows)
        columns.update(dict.fromkeys(path, column))
    return columns


def _folds(ranks: Mapping[str, int], last_uses: Mapping[str, int], breadth: int) -> list[int]:
    """The first rank of each strip, where few lines have to be led over; strips make a page not too tall."""
    depth = 1 + max(ranks.values())
    if depth <= LONGEST_UNFOLDED:
        return [0]
    shape = 1.4 * breadth * (BOX_WIDTH + BETWEEN_STRIPS) / (BOX_HEIGHT + LEAST_GAP)
    wanted = min(max(math.sqrt(depth * shape), LEAST_FOLDED), MOST_FOLDED)
    most = math.ceil(depth / math.ceil(depth / wanted))
    led_over = [sum(ranks[name] < fold <= last_uses[name] for name in ranks) for fold in range(depth)]
    firsts = [0]
    while depth - firsts[-1] > most:
        choice = range(firsts[-1] + math.ceil(most * 0.75), firsts[-1] + most + 1)
        firsts.append(min(choice, key=lambda fold: (led_over[fold], -fold)))
    return firsts


def _routes(inputs: Graph, grid: _Grid) -> _Routes:
    """Edges of one source share their way as far as they can."""
    found = _Routes([_Lane(column, 0, 0) for column in range(grid.starts[-1])], set(grid.cells.values()))
    targets: dict[str, list[str]] = {name: [] for name in inputs}
    for name, feeders in inputs.items():
        for feeder in feeders:
            targets[feeder].append(name)
    for source, fed in targets.items():
        row, column = grid.cells[source]
        channel, way = row + 1, list[tuple[int, _Lane]]()
        strips = sorted({grid.strips[name] for name in (source, *fed)}) if fed else []
        for strip, following in itertools.zip_longest(strips, strips[1:]):
            here = [name for name in fed if grid.strips[name] == strip]
            end = max(grid.rows) if following else max(grid.cells[name][0] for name in here)
            farther = way
            if end > channel:
                between = {(r, column) for r in range(channel, end)}
                if strip == grid.strips[source] and not between & found.taken:
                    found.taken |= between
                    lane = found.middles[column]
                else:
                    beside = column if strip == grid.strips[source] else grid.cells[here[0]][1]
                    to_the_left = any(grid.cells[name][1] < beside for name in here)
                    lane = _Lane(beside + (not to_the_left), channel, end)
                    found.lanes.append(lane)
                farther = [*way, (channel, lane)]
            for name in here:
                found.steps[source, name] = way if grid.cells[name][0] == channel else farther
            if following:
                riser = _Lane(grid.starts[following], 0, end)
                found.lanes.append(riser)
                channel, way = 0, [*farther, (end, riser)]
    return found


def _place_lanes(grid: _Grid, routes: _Routes) -> float:
    """Gives each lane and column its x; lanes beside each other where their channels overlap. Returns the width."""
    x = MARGIN
    for gutter in range(grid.starts[-1] + 1):
        tracks: list[list[_Lane]] = []
        mine = [lane for lane in routes.lanes if lane.gutter == gutter]
        for lane in sorted(mine, key=lambda lane: lane.last - lane.first):
            fits = (t for t in tracks if all(lane.first > other.last or lane.last < other.first for other in t))
            track = next(fits, None)
            if track is None:
                tracks.append(track := [])
            track.append(lane)
        inner = 0 < gutter < grid.starts[-1]
        gap = (BETWEEN_STRIPS if gutter in grid.starts else BETWEEN_COLUMNS) if inner else TRACK
        for number, track in enumerate(tracks):
            for lane in track:
                lane.x = x + gap / 2 + TRACK * (number + 0.5)
        x += gap + TRACK * len(tracks)
        if gutter < grid.starts[-1]:
            routes.middles[gutter].x = x + BOX_WIDTH / 2
            x += BOX_WIDTH
    return x + MARGIN


def _ports(inputs: Graph, grid: _Grid, routes: _Routes) -> Iterator[tuple[Edge, float]]:
    """Where on the upper side of its target each edge ends: straight ones in the middle, the others as they come."""
    for name, feeders in inputs.items():
        row, column = grid.cells[name]
        middle = routes.middles[column].x
        ways = [_way(grid, routes, (feeder, name), middle) for feeder in feeders]
        comes = [way[-1].start for way in ways]
        straight = comes.index(middle) if middle in comes else None
        if straight is None and len(comes) == 1 and (row - 1, column) not in routes.taken:
            straight = 0
        others = [n for n in range(len(comes)) if n != straight]
        sides = [n for n in others if comes[n] < middle], [n for n in others if comes[n] >= middle]
        step = min(14.0, (BOX_WIDTH / 2 - 10) / max(1, *map(len, sides)))
        ends = {} if straight is None else {straight: middle}
        for direction, side in zip((-step, step), sides, strict=True):
            # What comes from farther away ends farther out, so that lines do not cross.
            nearest = sorted(side, key=lambda n: abs(comes[n] - middle))
            ends.update({n: middle + direction * place for place, n in enumerate(nearest, start=1)})
        yield from (((feeder, name), ends[n]) for n, feeder in enumerate(feeders))


def _way(grid: _Grid, routes: _Routes, edge: Edge, port: float) -> list[_Turn]:
    """The turns of an edge that ends at x `port`."""
    source, target = edge
    turns, x = [], routes.middles[grid.cells[source][1]].x
    for channel, lane in routes.steps[edge]:
        turns.append(_Turn(channel, x, lane.x))
        x = lane.x
    return [*turns, _Turn(grid.cells[target][0], x, port)]


def _heights(
    ways: Sequence[tuple[Edge, Sequence[_Turn]]], rows: int
) -> tuple[dict[tuple[int, str], float], list[float], float]:
    """The y of each source's line in each channel, of each row's upper side, and of the lower end."""
    channels: list[dict[str, _Bar]] = [{} for _ in range(rows + 1)]
    for (source, _), way in ways:
        before = [-1, *(turn.channel for turn in way)]
        after = [*(turn.channel for turn in way[1:]), rows + 1]
        for turn, came_from, goes_to in zip(way, before, after, strict=False):
            bar = channels[turn.channel].setdefault(source, _Bar())
            (bar.ups if came_from < turn.channel else bar.downs).add(turn.start)
            (bar.downs if goes_to > turn.channel else bar.ups).add(turn.end)
    bends, tops, y = {}, [], HEADER
    for channel, bars in enumerate(channels):
        tracks = _tracks({source: bar for source, bar in bars.items() if bar.left < bar.right})
        bends.update({(channel, source): y + LINE_ABOVE + TRACK * track for source, track in tracks.items()})
        if tracks:
            y += max(LEAST_GAP, LINE_ABOVE + TRACK * max(tracks.values()) + LINE_BELOW)
        elif 0 < channel < rows:
            y += LEAST_GAP
        if channel < rows:
            tops.append(y)
            y += BOX_HEIGHT
    return bends, tops, y + MARGIN


def _tracks(bars: Mapping[str, _Bar]) -> dict[str, int]:
    """Gives lines of a channel that would touch different heights, in an order with few crossings; 0 is on top."""
    order: list[str] = []
    for name, bar in bars.items():
        costs = [0]
        for other in order:
            costs.append(costs[-1] + bars[other].crossings_above(bar) - bar.crossings_above(bars[other]))
        order.insert(costs.index(min(costs)), name)
    tracks: dict[str, int] = {}
    for name in order:
        above = [track for other, track in tracks.items() if not bars[name].clear_of(bars[other])]
        tracks[name] = max(above, default=-1) + 1
    return tracks


def _arrow(
    way: Sequence[_Turn], edge: Edge, boxes: Mapping[str, Point], bends: Mapping[tuple[int, str], float]
) -> Arrow:
    source, target = edge
    top = boxes[target][1]
    points = [(way[0].start, boxes[source][1] + BOX_HEIGHT)]
    for turn in way:
        y = bends.get((turn.channel, source), top)
        points += [(turn.start, y), (turn.end, y)] if turn.start != turn.end else []
    return Arrow(source, target, [*points, (way[-1].end, top)])
