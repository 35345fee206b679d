"""The graph of who depends on whom, and the cycles in it that no serial execution could leave behind.

Kinds of edges, after Adya: `ww` the target overwrote the source's version; `wr` the target read the source's version;
`rw` the target overwrote a version that the source read (the only kind that points back in time); each of the last two
also by the matches of a predicate. A cycle is named by what it needs at least: overwrites alone are G0, with a read G1c,
with exactly one rw G-single, with two or more G2-item, and G2 when they need a predicate.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mastery.lab.anomalies import Anomaly


class Dependency(StrEnum):
    """The kinds of edges."""

    WW = "ww"
    WR = "wr"
    RW = "rw"
    PREDICATE_WR = "predicate-wr"
    PREDICATE_RW = "predicate-rw"


@dataclass(frozen=True, slots=True)
class Edge:
    """`source` comes before `target` in every serial execution that shows the same; `why` is a clause of a sentence."""

    source: int
    target: int
    kind: Dependency
    why: str


@dataclass(frozen=True, slots=True)
class Cycle:
    """Edges of which each begins where the last one ended, and the last ends where the first began."""

    anomaly: Anomaly
    edges: tuple[Edge, ...]

    def __str__(self) -> str:
        clauses = "; ".join(f"T{edge.source} before T{edge.target} ({edge.kind}: {edge.why})" for edge in self.edges)
        return f"{self.anomaly}: {clauses}; so T{self.edges[0].source} would come before itself."


_FORWARD = frozenset({Dependency.WW, Dependency.WR, Dependency.PREDICATE_WR})
_READS = frozenset({Dependency.WR, Dependency.PREDICATE_WR})
_BACKWARD = frozenset({Dependency.RW, Dependency.PREDICATE_RW})
_ITEM = frozenset(Dependency) - {Dependency.PREDICATE_RW}

# Which edge begins a cycle of this name, and which edges may lead back. One history may show several.
_Shape = tuple[Anomaly, Collection[Dependency], Collection[Dependency]]
_SHAPES: tuple[_Shape, ...] = (
    (Anomaly.G0, {Dependency.WW}, {Dependency.WW}),
    (Anomaly.G1C, _READS, _FORWARD),
    (Anomaly.G_SINGLE, _BACKWARD, _FORWARD),
)


def find_cycles(edges: Iterable[Edge], *, searches_at_most: int = 20_000) -> tuple[tuple[Cycle, ...], bool]:
    """One shortest example of each anomaly, and whether the search was complete within its budget of edges tried."""
    graph = _Graph(edge for edge in edges if edge.source != edge.target)
    found: dict[Anomaly, Cycle] = {}
    complete = True
    for component in graph.components():
        inside = graph.within(component)
        left = [searches_at_most]
        for shape in _SHAPES:
            _look(inside, found, left, shape)
        _look_for_write_skew(inside, found, left)
        complete = complete and left[0] >= 0
    return tuple(found[anomaly] for anomaly in Anomaly if anomaly in found), complete


def _look(graph: "_Graph", found: dict[Anomaly, Cycle], left: list[int], shape: _Shape) -> None:
    anomaly, begins, leads = shape
    for edge in graph.edges_of(begins):
        if anomaly in found or left[0] < 0:
            return
        left[0] -= 1
        back = graph.shortest_path(edge.target, edge.source, leads)
        if back is not None:
            found[anomaly] = Cycle(anomaly, (edge, *back))


def _look_for_write_skew(graph: "_Graph", found: dict[Anomaly, Cycle], left: list[int]) -> None:
    for edge in graph.edges_of(_BACKWARD):
        if {Anomaly.G2_ITEM, Anomaly.G2} <= found.keys() or left[0] < 0:
            return
        left[0] -= 1
        # With a way back over forward edges alone it is a G-single; every other way back has an rw of its own.
        if graph.shortest_path(edge.target, edge.source, _FORWARD) is not None:
            continue
        over_rows = graph.shortest_path(edge.target, edge.source, _ITEM) if edge.kind is Dependency.RW else None
        back = over_rows or graph.shortest_path(edge.target, edge.source, frozenset(Dependency))
        if back is not None:
            anomaly = Anomaly.G2_ITEM if over_rows else Anomaly.G2
            found.setdefault(anomaly, Cycle(anomaly, (edge, *back)))


class _Graph:
    """Edges by source; parallel edges of different kinds stay apart."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self.edges: list[Edge] = list(edges)
        self.out: dict[int, list[Edge]] = {}
        for edge in self.edges:
            self.out.setdefault(edge.source, []).append(edge)

    def within(self, nodes: Collection[int]) -> "_Graph":
        return _Graph(edge for node in sorted(nodes) for edge in self.out.get(node, ()) if edge.target in nodes)

    def edges_of(self, kinds: Collection[Dependency]) -> list[Edge]:
        return [edge for edge in self.edges if edge.kind in kinds]

    def shortest_path(self, start: int, goal: int, kinds: Collection[Dependency]) -> tuple[Edge, ...] | None:
        """Breadth first over edges of these kinds; None when there is no way."""
        came_by: dict[int, Edge] = {}
        waiting = deque([start])
        while waiting:
            node = waiting.popleft()
            if node == goal:
                return _walk_back(came_by, start, goal)
            for edge in self.out.get(node, ()):
                if edge.kind in kinds and edge.target not in came_by and edge.target != start:
                    came_by[edge.target] = edge
                    waiting.append(edge.target)
        return None

    def components(self) -> list[frozenset[int]]:
        """The strongly connected components with more than one node: every cycle lies inside one of them."""
        return [
            each for each in strongly_connected({node: [e.target for e in out] for node, out in self.out.items()}) if len(each) > 1
        ]


def _walk_back(came_by: Mapping[int, Edge], start: int, goal: int) -> tuple[Edge, ...]:
    path: list[Edge] = []
    while goal != start:
        path.append(came_by[goal])
        goal = path[-1].source
    return tuple(reversed(path))


def strongly_connected(targets: Mapping[int, list[int]]) -> list[frozenset[int]]:
    """Tarjan's components, without recursion: a history of 100,000 transactions would exhaust the stack."""
    number: dict[int, int] = {}
    lowest: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    components: list[frozenset[int]] = []
    for root in targets:
        if root in number:
            continue
        work = [(root, iter(targets.get(root, ())))]
        number[root] = lowest[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            child = next(rest, None)
            if child is None:
                work.pop()
                if work:
                    lowest[work[-1][0]] = min(lowest[work[-1][0]], lowest[node])
                if lowest[node] == number[node]:
                    component = _cut(stack, node)
                    del stack[len(stack) - len(component) :]
                    on_stack.difference_update(component)
                    components.append(frozenset(component))
            elif child not in number:
                number[child] = lowest[child] = len(number)
                stack.append(child)
                on_stack.add(child)
                work.append((child, iter(targets.get(child, ()))))
            elif child in on_stack:
                lowest[node] = min(lowest[node], number[child])
    return components


def _cut(stack: list[int], node: int) -> list[int]:
    """The top of the stack down to the node, found from the top: the stack may be long and the component short."""
    place = len(stack) - 1
    while stack[place] != node:
        place -= 1
    return stack[place:]
