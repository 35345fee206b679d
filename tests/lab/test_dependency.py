"""Cycles are found and named by what they need at least, against a search over all of them."""

from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mastery.lab.anomalies import Anomaly
from mastery.lab.history.dependency import Dependency, Edge, find_cycles, strongly_connected

WW, WR, RW, PWR, PRW = Dependency


def edges(*triples: tuple[int, int, Dependency]) -> list[Edge]:
    return [Edge(source, target, kind, "it says so") for source, target, kind in triples]


def named(*triples: tuple[int, int, Dependency]) -> set[Anomaly]:
    cycles, complete = find_cycles(edges(*triples))
    assert complete
    return {cycle.anomaly for cycle in cycles}


@pytest.mark.parametrize(
    ("triples", "expected"),
    [
        ([(1, 2, WW), (2, 3, WR), (1, 3, RW)], set()),
        ([(1, 1, WW)], set()),
        ([(1, 2, WW), (2, 1, WW)], {Anomaly.G0}),
        ([(1, 2, WW), (2, 1, WR)], {Anomaly.G1C}),
        ([(1, 2, PWR), (2, 1, WW)], {Anomaly.G1C}),
        ([(1, 2, RW), (2, 3, WW), (3, 1, WR)], {Anomaly.G_SINGLE}),
        ([(1, 2, PRW), (2, 1, PWR)], {Anomaly.G_SINGLE}),
        ([(1, 2, RW), (2, 1, RW)], {Anomaly.G2_ITEM}),
        ([(1, 2, RW), (2, 3, PWR), (3, 1, RW)], {Anomaly.G2_ITEM}),
        ([(1, 2, RW), (2, 1, PRW)], {Anomaly.G2}),
        ([(1, 2, PRW), (2, 1, PRW)], {Anomaly.G2}),
        ([(1, 2, WW), (2, 1, WW), (5, 6, RW), (6, 5, RW)], {Anomaly.G0, Anomaly.G2_ITEM}),
    ],
)
def test_a_cycle_is_named_by_what_it_needs(triples: list[tuple[int, int, Dependency]], expected: set[Anomaly]) -> None:
    assert named(*triples) == expected


def test_a_cycle_explains_itself_in_one_sentence() -> None:
    (cycle,), _ = find_cycles([Edge(1, 2, RW, "T2 overwrote the x that it read"), Edge(2, 1, WR, "T1 read its y")])
    assert str(cycle) == (
        "G-single: T1 before T2 (rw: T2 overwrote the x that it read); "
        "T2 before T1 (wr: T1 read its y); so T1 would come before itself."
    )


graphs = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4), st.sampled_from(Dependency)), max_size=9)


def shapes_by_brute_force(triples: list[tuple[int, int, Dependency]]) -> list[list[Dependency]]:
    """The kinds of every simple cycle, parallel edges tried each on their own."""
    shapes = []
    for length in range(2, 5):
        for nodes in permutations(range(1, 5), length):
            hops = [[k for s, t, k in triples if (s, t) == hop] for hop in zip(nodes, (*nodes[1:], nodes[0]), strict=True)]
            shapes += [list(kinds) for kinds in product(*hops)]
    return shapes


@settings(max_examples=400, deadline=None)
@given(graphs)
def test_names_agree_with_a_search_over_all_cycles(triples: list[tuple[int, int, Dependency]]) -> None:
    found = named(*triples)
    shapes = shapes_by_brute_force(triples)
    backward = [sum(kind in {RW, PRW} for kind in kinds) for kinds in shapes]
    assert (Anomaly.G0 in found) == any(set(kinds) == {WW} for kinds in shapes)
    forward = [kinds for kinds, back in zip(shapes, backward, strict=True) if back == 0]
    assert (Anomaly.G1C in found) == any({WR, PWR} & set(kinds) for kinds in forward)
    assert (Anomaly.G_SINGLE in found) == (1 in backward)
    # Only of the write skews may one stay unnamed, and only when its edges also close a cycle with a single rw.
    skews = {Anomaly.G2 if PRW in kinds else Anomaly.G2_ITEM for kinds, back in zip(shapes, backward, strict=True) if back > 1}
    assert found & {Anomaly.G2, Anomaly.G2_ITEM} <= skews
    assert bool(found) == bool(shapes)


@given(graphs)
def test_every_cycle_shown_is_one(triples: list[tuple[int, int, Dependency]]) -> None:
    for cycle in find_cycles(edges(*triples))[0]:
        assert set(cycle.edges) <= set(edges(*triples))
        assert [edge.target for edge in cycle.edges] == [edge.source for edge in (*cycle.edges[1:], cycle.edges[0])]


@given(graphs)
def test_components_are_the_nodes_that_reach_each_other(triples: list[tuple[int, int, Dependency]]) -> None:
    targets = {node: [t for s, t, _ in triples if s == node] for node in range(1, 5)}
    reach = {node: {node} for node in targets}
    for _ in targets:
        reach = {node: seen.union(*(set(targets[each]) for each in seen)) for node, seen in reach.items()}
    expected = {frozenset(other for other in targets if other in reach[node] and node in reach[other]) for node in targets}
    assert set(strongly_connected(targets)) == expected


def test_a_chain_of_30_000_does_not_exhaust_the_stack() -> None:
    chain = [Edge(n, n + 1, WW, "") for n in range(30_000)]
    assert find_cycles(chain) == ((), True)
    cycles, _ = find_cycles([*chain, Edge(30_000, 0, RW, "")])
    assert [cycle.anomaly for cycle in cycles] == [Anomaly.G_SINGLE]


def test_a_search_beyond_its_budget_says_so() -> None:
    tangle = [Edge(a, b, RW, "") for a in range(30) for b in range(30) if a != b]
    cycles, complete = find_cycles(tangle, steps_at_most=5)
    assert not complete
    assert {cycle.anomaly for cycle in cycles} <= {Anomaly.G2_ITEM}
