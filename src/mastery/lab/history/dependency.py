"""The graph of who depends on whom, and the cycles in it that no serial execution could leave behind.

Kinds of edges, after Adya: `ww` the target overwrote the source's version; `wr` the target read the source's version;
`rw` the target overwrote a version that the source read (the only kind that points back in time); each of the last two
also by the matches of a predicate. A cycle is named by what it needs at least: overwrites alone are G0, with a read G1c,
with exactly one rw G-single, with two or more G2-item, and G2 when they need a predicate.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
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


def find_cycles(edges: Iterable[Edge], *, steps_at_most: int = 5_000_000) -> tuple[tuple[Cycle, ...], bool]:
    """One short example of each anomaly, and whether the search was complete within its budget of edges walked."""
    graph = _Graph([edge for edge in edges if edge.source != edge.target])
    found: dict[Anomaly, Cycle] = {}
    try:
        # Every cycle lies inside one component.
        for component in graph.components(frozenset(Dependency)):
            if len(component) == 1:
                continue
            inside = graph.within(component)
            inside.steps_left = steps_at_most
            for shape in _SHAPES:
                _look(inside, found, shape)
            _look_for_write_skew(inside, found)
            steps_at_most = inside.steps_left
    except _BudgetSpent:
        return _in_order(found), False
    return _in_order(found), True


def _in_order(found: Mapping[Anomaly, Cycle]) -> tuple[Cycle, ...]:
    return tuple(found[anomaly] for anomaly in Anomaly if anomaly in found)


def _look(graph: "_Graph", found: dict[Anomaly, Cycle], shape: _Shape) -> None:
    anomaly, begins, leads = shape
    if anomaly in found:
        return
    ways = _Ways(graph, leads)
    for edge in graph.edges_of(begins):
        back = ways.shortest(edge.target, edge.source)
        if back is not None:
            found[anomaly] = Cycle(anomaly, (edge, *back))
            return


def _look_for_write_skew(graph: "_Graph", found: dict[Anomaly, Cycle]) -> None:
    wanted = {Anomaly.G2_ITEM}
    if graph.edges_of({Dependency.PREDICATE_RW}):
        wanted.add(Anomaly.G2)
    forward, over_rows, over_all = _Ways(graph, _FORWARD), _Ways(graph, _ITEM), _Ways(graph, frozenset(Dependency))
    for edge in graph.edges_of(_BACKWARD):
        if wanted <= found.keys():
            return
        # With a way back over forward edges alone it is a G-single; every other way back has an rw of its own.
        if forward.shortest(edge.target, edge.source) is not None:
            continue
        back = over_rows.shortest(edge.target, edge.source) if edge.kind is Dependency.RW else None
        anomaly = Anomaly.G2 if back is None else Anomaly.G2_ITEM
        back = back or over_all.shortest(edge.target, edge.source)
        if back is not None:
            found.setdefault(anomaly, Cycle(anomaly, (edge, *back)))


class _BudgetSpent(Exception):
    """The search ends without a complete answer."""


class _Graph:
    """Edges by source; parallel edges of different kinds stay apart."""

    def __init__(self, edges: Sequence[Edge]) -> None:
        self.edges = edges
        self.steps_left = 0
        self.out: dict[int, list[Edge]] = {}
        for edge in edges:
            self.out.setdefault(edge.source, []).append(edge)

    def within(self, nodes: Collection[int]) -> "_Graph":
        return _Graph([edge for node in sorted(nodes) for edge in self.out.get(node, ()) if edge.target in nodes])

    def edges_of(self, kinds: Collection[Dependency]) -> list[Edge]:
        return [edge for edge in self.edges if edge.kind in kinds]

    def components(self, kinds: Collection[Dependency]) -> list[frozenset[int]]:
        """The strongly connected components over edges of these kinds, those that are led to first."""
        return strongly_connected({node: [e.target for e in out if e.kind in kinds] for node, out in self.out.items()})


class _Ways:
    """Shortest ways over some kinds of edges. A way never enters a component behind its goal's, which prunes most walks."""

    def __init__(self, graph: _Graph, kinds: Collection[Dependency]) -> None:
        self.graph = graph
        self.kinds = kinds
        self.rank = {node: rank for rank, component in enumerate(graph.components(kinds)) for node in component}

    def shortest(self, start: int, goal: int) -> tuple[Edge, ...] | None:
        """Breadth first; None when there is no way."""
        came_by: dict[int, Edge] = {}
        waiting = deque([start] if self.rank[start] >= self.rank[goal] else [])
        while waiting:
            node = waiting.popleft()
            if node == goal:
                return _walk_back(came_by, start, goal)
            for edge in self.graph.out.get(node, ()):
                self.graph.steps_left -= 1
                if self.graph.steps_left < 0:
                    raise _BudgetSpent
                onward = edge.kind in self.kinds and self.rank[edge.target] >= self.rank[goal]
                if onward and edge.target not in came_by and edge.target != start:
                    came_by[edge.target] = edge
                    waiting.append(edge.target)
        return None


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
