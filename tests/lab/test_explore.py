"""The runner plays an order as it says, whoever blocks whom, and leaves nothing open."""

import pytest

from mastery.lab.anomalies import Anomaly, Case, case_of
from mastery.lab.explore import explore_order
from mastery.lab.history.transactions import Judgement, find_anomalies
from mastery.lab.history.transcript import Cause, Ended, Failed, Rows, Transcript
from mastery.lab.interleaving import every_order
from mastery.lab.statements import Abort, Commit, Read, Row, Statement, Write, WriteId
from mastery.workloads.memory_store import Isolation, MemorySession, MemoryStore

CROSSED = Case(Anomaly.G0, ((Write("x", 11), Write("y", 21), Commit()), (Write("y", 22), Write("x", 12), Commit())))


def played(case: Case, order: tuple[int, ...], isolation: Isolation) -> Transcript:
    store = MemoryStore(isolation)
    return explore_order(case, order, lambda: store)


def steps(transcript: Transcript) -> list[tuple[int, int]]:
    return [(each.session, each.step) for each in transcript.seen]


def test_without_blocking_the_replies_come_in_the_order_given() -> None:
    for order in every_order((3, 3)):
        transcript = played(case_of("G0"), order, Isolation.NONE)
        assert tuple(session for session, _ in steps(transcript)) == order
        assert not any(each.waited for each in transcript.seen)


def test_a_blocked_session_s_steps_wait_and_run_as_soon_as_it_may_go_on() -> None:
    # T2's write of x waits for T1; its next step is due while it waits, and both run when T1 commits, before T3 goes on.
    reader = (Read("x"), Read("x"), Commit())
    case = Case(Anomaly.OTV, ((Write("x", 11), Commit()), (Write("x", 12), Write("y", 22), Commit()), reader))
    transcript = played(case, (0, 1, 1, 2, 0, 2, 1, 2), Isolation.SERIAL)
    assert steps(transcript)[:5] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    assert {(each.session, each.step) for each in transcript.seen if each.waited} == {(1, 0), (2, 0)}
    assert len(transcript.seen) == 8


def test_every_serial_play_ends_with_every_session_committed() -> None:
    for order in every_order((3, 3)):
        transcript = played(CROSSED, order, Isolation.SERIAL)
        assert [transcript.ended(0), transcript.ended(1)] == [Ended.COMMITTED, Ended.COMMITTED]
        assert sorted(steps(transcript)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_a_deadlock_is_left_to_the_store_and_costs_one_session_its_transaction() -> None:
    transcript = played(CROSSED, (0, 1, 0, 1, 0, 1), Isolation.SNAPSHOT)
    assert [each.reply.cause for each in transcript.seen if isinstance(each.reply, Failed)] == [Cause.DEADLOCK]
    assert sorted([transcript.ended(0), transcript.ended(1)]) == [Ended.ABORTED, Ended.COMMITTED]
    assert find_anomalies(transcript).judgement is Judgement.CLEAN


def test_an_aborted_session_runs_no_further_step() -> None:
    transcript = played(case_of("P4"), (0, 1, 0, 0, 1, 1), Isolation.SNAPSHOT)
    assert steps(transcript) == [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1)]
    assert transcript.ended(1) is Ended.ABORTED


def test_each_order_begins_with_the_rows_of_the_case() -> None:
    store = MemoryStore(Isolation.NONE)
    for order in every_order((3, 3)):
        first = explore_order(case_of("G0"), order, lambda: store).seen[0].reply
        assert isinstance(first, Rows)
        assert first.rows[0].trace in {(WriteId(0, 0),), (WriteId(1, 0),)}


def test_who_waits_for_one_that_waits_goes_on_in_the_same_breath() -> None:
    # T1 waits for T2, which waits for T3: T3's end lets T2 go on to its own end, and that lets T1, all before T4's step.
    first, second = (Write("y", 21), Commit()), (Write("y", 22), Write("x", 12), Commit())
    case = Case(Anomaly.G0, (first, second, (Write("x", 13), Abort()), (Read("x"), Commit())))
    transcript = played(case, (2, 1, 1, 0, 1, 0, 2, 3, 3), Isolation.SNAPSHOT)
    assert steps(transcript) == [(2, 0), (1, 0), (2, 1), (1, 1), (1, 2), (0, 0), (3, 0), (3, 1)]
    assert transcript.ended(0) is Ended.ABORTED, "y changed while it waited"


class SlowToNotice(MemoryStore):
    """Resolves a deadlock only when asked for a reply again and again, as a server does after its deadlock_timeout."""

    asked = 0

    def in_deadlock(self, session: MemorySession) -> bool:
        deadlock = super().in_deadlock(session)
        self.asked += deadlock
        return deadlock and self.asked > 5


def test_the_order_stands_still_until_a_deadlock_is_resolved() -> None:
    case = Case(Anomaly.G0, (*CROSSED.sessions, (Read("x"), Commit())))
    store = SlowToNotice(Isolation.SNAPSHOT)
    transcript = explore_order(case, (0, 1, 0, 1, 2, 2, 0, 1), lambda: store)
    ends = [(each.session, isinstance(each.reply, Failed)) for each in transcript.seen]
    assert ends.index((2, False)) > next(place for place, (_, failed) in enumerate(ends) if failed)
    assert sorted([transcript.ended(0), transcript.ended(1)]) == [Ended.ABORTED, Ended.COMMITTED]


class Stubborn(MemoryStore):
    """Fails one statement and keeps the transaction's lock: until the rollback, or (lost) until it notices by itself."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(Isolation.SERIAL)
        self.cause, self.asked = cause, 0

    def perform(self, session: MemorySession, statement: Statement, write: WriteId) -> Rows | Failed:
        if write == WriteId(0, 1):
            return Failed(self.cause)
        return super().perform(session, statement, write)  # type: ignore[return-value]

    def blockers(self, session: MemorySession) -> frozenset[int]:
        self.asked += 1
        if self.asked > 20:
            self.holder = None
        return super().blockers(session)


@pytest.mark.parametrize("cause", [Cause.OTHER, Cause.LOST])
def test_what_a_failed_session_held_does_not_hold_up_the_others_for_ever(cause: Cause) -> None:
    store = Stubborn(cause)
    transcript = explore_order(CROSSED, (0, 1, 0, 1, 1, 0), lambda: store)
    assert [transcript.ended(0), transcript.ended(1)] == [Ended.ABORTED, Ended.COMMITTED]
    assert (store.asked > 20) == (cause is Cause.LOST)


class Counting(MemoryStore):
    """Notes who was rolled back, and may fail in the middle."""

    def __init__(self, fail_at: int | None = None, lose_at: int | None = None) -> None:
        super().__init__(Isolation.NONE)
        self.rolled_back: list[int] = []
        self.fail_at, self.lose_at, self.performed = fail_at, lose_at, 0

    def perform(self, session: MemorySession, statement: Statement, write: WriteId) -> Rows | Failed:
        self.performed += 1
        if self.performed == self.fail_at:
            raise ConnectionError("the network is gone")
        if self.performed == self.lose_at:
            return Failed(Cause.LOST, "no answer")
        return super().perform(session, statement, write)

    def end(self, session: MemorySession, *, commit: bool) -> None:
        if not commit:
            self.rolled_back.append(session.number)
        super().end(session, commit=commit)


def test_what_is_open_is_rolled_back_also_when_the_runner_fails() -> None:
    store = Counting(fail_at=3)
    with pytest.raises(ConnectionError):
        explore_order(case_of("G0"), (0, 1, 0, 1, 0, 1), lambda: store)
    # Whoever was in the middle of a statement comes last: it may wait for what the others hold.
    assert store.rolled_back == [1, 0]
    assert store.rows() == (Row("x", 10), Row("y", 20))


def test_a_commit_without_answer_makes_the_order_unknown() -> None:
    store = Counting(lose_at=6)
    transcript = explore_order(case_of("G0"), (0, 0, 0, 1, 1, 1), lambda: store)
    assert transcript.ended(1) is Ended.UNKNOWN
    assert find_anomalies(transcript).judgement is Judgement.UNKNOWN


def test_a_session_that_aborts_itself_is_aborted_and_takes_its_writes_back() -> None:
    case = Case(Anomaly.G1A, ((Write("x", 101), Abort()), (Read("x"), Commit())))
    transcript = played(case, (0, 0, 1, 1), Isolation.NONE)
    assert transcript.ended(0) is Ended.ABORTED
    assert transcript.final == (Row("x", 10), Row("y", 20))
