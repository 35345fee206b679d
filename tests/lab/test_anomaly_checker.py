"""The ten anomalies are judged from what sessions saw: exactly on stores of known isolation, and on histories by hand."""

from collections.abc import Callable
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mastery.errors import UnknownName
from mastery.lab.anomalies import CASES, Anomaly, Case, case_of
from mastery.lab.explore import explore_order
from mastery.lab.history.transactions import Finding, Judgement, find_anomalies
from mastery.lab.history.transcript import Cause, Ended, Failed, Rows, Seen, Transcript
from mastery.lab.interleaving import choose_orders, count_orders, order_at
from mastery.lab.statements import (
    Abort,
    Between,
    Commit,
    Increment,
    Insert,
    Read,
    ReadWhere,
    Row,
    Statement,
    Write,
    WriteId,
)
from mastery.workloads.memory_store import Isolation, MemoryStore

Judge = Callable[[Transcript], Finding]


def transcripts(case: Case, isolation: Isolation, at_most: int = 300) -> list[Transcript]:
    store = MemoryStore(isolation)
    orders = choose_orders(case.lengths, at_most=at_most, seed=1)
    return [explore_order(case, order, lambda: store) for order in orders.chosen]


HISTORIES = {isolation: [each for case in CASES for each in transcripts(case, isolation)] for isolation in Isolation}


def table(judge: Judge) -> dict[Isolation, dict[str, set[str]]]:
    """For each store: which case showed its own anomaly, and what was shown anywhere."""
    rows: dict[Isolation, dict[str, set[str]]] = {}
    for isolation, histories in HISTORIES.items():
        findings = [(each.case.anomaly, judge(each)) for each in histories]
        rows[isolation] = {
            "own": {own for own, finding in findings if own in finding.anomalies},
            "any": {anomaly for _, finding in findings for anomaly in finding.anomalies},
            "unknown": {own for own, finding in findings if finding.judgement is Judgement.UNKNOWN},
        }
    return rows


SKEWS: set[str] = {Anomaly.G2_ITEM, Anomaly.G2}
TRUTH: dict[Isolation, dict[str, set[str]]] = {
    Isolation.NONE: {"own": set(Anomaly), "any": set(Anomaly), "unknown": set()},
    Isolation.SERIAL: {"own": set(), "any": set(), "unknown": set()},
    Isolation.SNAPSHOT: {"own": SKEWS, "any": SKEWS, "unknown": set()},
}


def test_all_ten_are_found_without_isolation_none_when_serial_and_only_write_skew_on_snapshots() -> None:
    assert table(find_anomalies) == TRUTH


@pytest.mark.parametrize(
    "constant",
    [
        Finding(Judgement.CLEAN),
        Finding(Judgement.UNKNOWN),
        Finding(Judgement.ANOMALOUS, frozenset(Anomaly)),
        *(Finding(Judgement.ANOMALOUS, frozenset({anomaly})) for anomaly in Anomaly),
    ],
)
def test_no_constant_in_the_place_of_the_judgement_gives_the_table(constant: Finding) -> None:
    assert table(lambda _: constant) != TRUTH


def test_there_are_ten_cases_of_two_or_three_sessions_each_found_by_its_name() -> None:
    assert [case.anomaly for case in CASES] == list(Anomaly)
    assert {len(case.sessions) for case in CASES} == {2, 3}
    assert case_of("g-single").anomaly is Anomaly.G_SINGLE
    with pytest.raises(UnknownName, match="Did you mean 'G-single'"):
        case_of("G-singel")


def test_values_of_one_case_are_unique_so_that_a_person_can_follow_them() -> None:
    for case in CASES:
        values = [row.value for row in case.rows]
        values += [step.value for steps in case.sessions for step in steps if isinstance(step, Write | Insert)]
        assert len(set(values)) == len(values)


def test_an_order_reads_as_a_story() -> None:
    assert case_of("G1a").says((0, 1, 0, 1, 1)) == "T1 writes x=101; T2 reads x; T1 aborts; T2 reads x; T2 commits"


# ---- histories by hand: x and y exist before, as in the cases


def history(*told: tuple[int, Statement, str | Failed], rows: int = 2, final: str | None) -> Transcript:
    """(session, statement, reply); a reply is rows as `x@0.0,1.0`: the key, and after the @ the trace."""
    steps: dict[int, list[Statement]] = {}
    seen = []
    for session, statement, reply in told:
        mine = steps.setdefault(session, [])
        seen.append(Seen(session, len(mine), statement, reply if isinstance(reply, Failed) else Rows(rows_of(reply))))
        mine.append(statement)
    sessions = tuple(tuple(steps[session]) for session in sorted(steps))
    closed = tuple(each if isinstance(each[-1], Commit | Abort) else (*each, Commit()) for each in sessions)
    case = Case(Anomaly.G0, closed, (Row("x", 10), Row("y", 20))[:rows])
    return Transcript(case, tuple(each[0] for each in told), tuple(seen), None if final is None else rows_of(final))


def rows_of(text: str) -> tuple[Row, ...]:
    rows = []
    for word in text.split():
        key, _, trace = word.partition("@")
        key, _, value = key.partition("=")
        ids = [WriteId(int(part[0]), int(part[2])) for part in trace.split(",") if part]
        rows.append(Row(key, int(value or {"x": 10, "y": 20}.get(key, 0)), tuple(ids)))
    return tuple(rows)


C = Commit()


def test_write_skew_is_not_reported_when_one_of_the_two_was_aborted() -> None:
    both = [(0, Read("x"), "x"), (1, Read("y"), "y"), (0, Write("y", 1), "y=1@0.1"), (1, Write("x", 2), "x=2@1.1"), (0, C, "")]
    assert find_anomalies(history(*both, (1, C, ""), final="x=2@1.1 y=1@0.1")).anomalies == {Anomaly.G2_ITEM}
    refused = history(*both, (1, C, Failed(Cause.SERIALIZATION)), final="x y=1@0.1")
    assert find_anomalies(refused) == Finding(Judgement.CLEAN)


def test_an_update_after_the_read_is_lost_only_if_somebody_wrote_in_between() -> None:
    reads = [(0, Read("x"), "x"), (1, Read("x"), "x"), (0, Write("x", 1), "x=1@0.1"), (0, C, "")]
    lost = history(*reads, (1, Write("x", 2), "x=2@0.1,1.1"), (1, C, ""), final="x=2@0.1,1.1 y")
    assert Anomaly.P4 in find_anomalies(lost).anomalies
    seen = history(
        *reads[:1], *reads[2:], (1, Read("x"), "x=1@0.1"), (1, Write("x", 2), "x=2@0.1,1.1"), (1, C, ""), final="x=2@0.1,1.1 y"
    )
    assert find_anomalies(seen) == Finding(Judgement.CLEAN)


def test_a_transaction_vanishes_only_for_who_saw_it_first() -> None:
    writes = [(0, Write("x", 1), "x=1@0.0"), (0, Write("y", 2), "y=2@0.1"), (0, C, "")]
    after = [(1, Read("x"), "x=1@0.0"), (1, Read("y"), "y"), (1, C, "")]
    assert find_anomalies(history(*writes, *after, final="x=1@0.0 y=2@0.1")).anomalies == {Anomaly.OTV, Anomaly.G_SINGLE}
    before = [(1, Read("y"), "y"), (1, Read("x"), "x=1@0.0"), (1, C, "")]
    assert find_anomalies(history(*writes, *before, final="x=1@0.0 y=2@0.1")).anomalies == {Anomaly.G_SINGLE}


def test_predicates_that_do_not_overlap_may_match_different_rows() -> None:
    insert = [(1, Insert("z", 31), "z=31@1.0"), (1, C, "")]
    first, second = (0, ReadWhere(Between(25, 35)), ""), (0, ReadWhere(Between(30, 45)), "z=31@1.0")
    moved = history(first, *insert, second, (0, C, ""), final="x y z=31@1.0")
    assert find_anomalies(moved).anomalies == {Anomaly.PMP, Anomaly.G_SINGLE}
    apart = (0, ReadWhere(Between(25, 30)), "")
    assert find_anomalies(history(apart, *insert, second, (0, C, ""), final="x y z=31@1.0")) == Finding(Judgement.CLEAN)


def test_rows_that_a_transaction_inserted_itself_are_no_phantoms() -> None:
    where = ReadWhere(Between(30, 45))
    own = history((0, where, ""), (0, Insert("z", 31), "z=31@0.1"), (0, where, "z=31@0.1"), (0, C, ""), final="x y z=31@0.1")
    assert find_anomalies(own) == Finding(Judgement.CLEAN)


def test_reading_what_aborted_and_what_was_only_passing_are_different_things() -> None:
    read = [(0, Write("x", 1), "x=1@0.0"), (1, Read("x"), "x=1@0.0"), (1, C, "")]
    assert find_anomalies(history(*read, (0, Abort(), ""), final="x y")).anomalies == {Anomaly.G1A}
    passing = history(*read, (0, Write("x", 2), "x=2@0.0,0.1"), (0, C, ""), final="x=2@0.0,0.1 y")
    assert Anomaly.G1B in find_anomalies(passing).anomalies
    assert Anomaly.G1A not in find_anomalies(passing).anomalies


def test_a_row_missed_because_of_an_aborted_or_passing_version_was_read_as_well() -> None:
    missed = [(0, Write("x", 99), "x=99@0.0"), (1, ReadWhere(Between(0, 15)), ""), (1, C, "")]
    assert find_anomalies(history(*missed, (0, Abort(), ""), final="x y")).anomalies == {Anomaly.G1A}
    passing = history(*missed, (0, Write("x", 12), "x=12@0.0,0.1"), (0, C, ""), final="x=12@0.0,0.1 y")
    assert find_anomalies(passing).anomalies == {Anomaly.G1B}


def test_doubt_about_the_version_that_a_predicate_passed_over_is_unknown_and_not_clean() -> None:
    # x leaves 0..15, comes back, and leaves again: which of the two absences did T3 see?
    changes = [(0, Write("x", 99), "x=99@0.0"), (0, C, ""), (1, Write("x", 5), "x=5@0.0,1.0"), (1, C, "")]
    again = [(3, Write("x", 98), "x=98@0.0,1.0,3.0"), (3, C, "")]
    read = [(2, ReadWhere(Between(0, 15)), ""), (2, C, "")]
    finding = find_anomalies(history(*changes, *read, *again, final="x=98@0.0,1.0,3.0 y"))
    assert finding.judgement is Judgement.UNKNOWN
    assert "T3's predicate" in finding.why[0]


def test_an_increment_reads_the_version_that_it_adds_to() -> None:
    told = [(0, Increment("x", 5), "x=15@0.0"), (1, Increment("x", 5), "x=20@0.0,1.0"), (1, C, "")]
    assert find_anomalies(history(*told, (0, C, ""), final="x=20@0.0,1.0 y")) == Finding(Judgement.CLEAN)
    assert find_anomalies(history(*told, (0, Abort(), ""), final="x=20@1.0 y")).anomalies == {Anomaly.G1A}


@pytest.mark.parametrize(
    ("transcript", "why"),
    [
        (history((0, Write("x", 1), "x=1@0.0"), (0, C, Failed(Cause.LOST)), final="x=1@0.0 y"), "T1 committed is unknown"),
        (history((0, Read("x"), "x"), (0, C, ""), final=None), "could not be read"),
        (
            history((0, Write("x", 1), "x=1@0.0"), (1, Write("x", 2), "x=2@1.0"), (0, C, ""), (1, C, ""), final="x=2@1.0 y"),
            "different pasts",
        ),
        (history((0, Write("x", 1), "x=1@0.0"), (0, C, ""), final="x y"), "is in no row"),
    ],
)
def test_what_cannot_be_told_is_unknown_with_its_reason_and_never_clean(transcript: Transcript, why: str) -> None:
    finding = find_anomalies(transcript)
    assert finding.judgement is Judgement.UNKNOWN
    assert not finding.anomalies
    assert why in finding.why[0]


def test_every_anomaly_comes_with_a_sentence_that_begins_with_its_name() -> None:
    for each in HISTORIES[Isolation.NONE]:
        finding = find_anomalies(each)
        assert [sentence.partition(":")[0] for sentence in finding.why] == [a.value for a in Anomaly if a in finding.anomalies]
        assert all(finding.proof_of(anomaly) in finding.why for anomaly in finding.anomalies)
        assert not any(finding.proof_of(anomaly) for anomaly in set(Anomaly) - finding.anomalies)


# ---- the twin: committed sessions that some serial order explains have no anomaly, and the others have one


@st.composite
def cases(draw: st.DrawFn) -> Case:
    value = iter(range(100, 200))
    key = st.sampled_from("xy")
    where = st.sampled_from([Between(0, 15), Between(15, 150), Between(102, 300)])
    sessions = []
    for session in range(draw(st.integers(2, 3))):
        steps: list[Statement] = []
        for _ in range(draw(st.integers(1, 3))):
            kind = draw(st.sampled_from(["read", "where", "write", "increment", "insert"]))
            fresh = f"n{session}"
            if kind == "insert" and not any(isinstance(step, Insert) for step in steps):
                steps.append(Insert(fresh, next(value)))
            elif kind == "where":
                steps.append(ReadWhere(draw(where)))
            elif kind == "read":
                steps.append(Read(draw(key | st.sampled_from(["n0", "n1"]))))
            elif kind == "increment":
                steps.append(Increment(draw(key), 1_000 * next(value)))
            else:
                steps.append(Write(draw(key), next(value)))
        sessions.append((*steps, draw(st.sampled_from([Commit(), Commit(), Commit(), Abort()]))))
    return Case(Anomaly.G0, tuple(sessions))


def explained_by_a_serial_order(transcript: Transcript) -> bool:
    """Replays the committed sessions one after the other, in every order, and compares every row with its past."""
    ends = [transcript.ended(session) for session in range(len(transcript.case.sessions))]
    committed = [session for session, end in enumerate(ends) if end is Ended.COMMITTED]
    seen = {(each.session, each.step): each.reply for each in transcript.seen if each.session in committed}
    return any(_replays(transcript.case, order, seen, set(committed)) for order in permutations(committed))


def _replays(case: Case, order: tuple[int, ...], seen: dict[tuple[int, int], object], committed: set[int]) -> bool:
    store = MemoryStore(Isolation.NONE)
    sessions = store.set(case.rows, len(case.sessions))
    for number in order:
        for step, statement in enumerate(case.sessions[number]):
            sessions[number].submit(statement, write=WriteId(number, step), begin=step == 0)
            replayed, reply = sessions[number].reply(), seen[number, step]
            assert isinstance(replayed, Rows)
            assert isinstance(reply, Rows)
            if _comparable(statement, reply.rows, committed) != _comparable(statement, replayed.rows, committed):
                return False
    return True


def _comparable(statement: Statement, rows: tuple[Row, ...], committed: set[int]) -> object:
    compared = []
    for row in rows:
        read = row.trace[:-1] if isinstance(statement, Increment) else row.trace
        if read and read[-1].session not in committed and not isinstance(statement, Write | Insert):
            return "read what was aborted"
        compared.append((row.key, tuple(write for write in row.trace if write.session in committed)))
    return compared


@settings(max_examples=400, deadline=None)
@given(cases(), st.sampled_from([Isolation.NONE, Isolation.SNAPSHOT]), st.data())
def test_an_anomaly_is_found_exactly_when_no_serial_order_explains_what_was_seen(
    case: Case, isolation: Isolation, data: st.DataObject
) -> None:
    order = order_at(case.lengths, data.draw(st.integers(0, count_orders(case.lengths) - 1)))
    store = MemoryStore(isolation)
    transcript = explore_order(case, order, lambda: store)
    finding = find_anomalies(transcript)
    if finding.judgement is not Judgement.UNKNOWN:
        assert (finding.judgement is Judgement.CLEAN) == explained_by_a_serial_order(transcript), (finding, transcript)
