"""Real sessions on a real PostgreSQL: the truth table of its levels, blocking by the server's word, deadlocks, losses."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from mastery.errors import DomainError
from mastery.lab.anomalies import CASES, Anomaly, Case, case_of
from mastery.lab.explore import explore_order
from mastery.lab.history.transactions import Judgement, find_anomalies
from mastery.lab.history.transcript import Cause, Ended, Failed, Rows, Transcript
from mastery.lab.interleaving import choose_orders, count_orders, every_order
from mastery.lab.statements import Commit, Increment, Insert, Read, Row, Write, WriteId
from mastery.workloads.memory_store import Isolation, MemoryStore
from mastery.workloads.sessions import Level, PostgresStage

ALLOWED = {
    Level.READ_COMMITTED: {Anomaly.PMP, Anomaly.P4, Anomaly.G_SINGLE, Anomaly.G2_ITEM, Anomaly.G2},
    Level.REPEATABLE_READ: {Anomaly.G2_ITEM, Anomaly.G2},
    Level.SERIALIZABLE: set(),
}


@pytest.fixture(scope="module")
def stages(postgres_conninfo: str) -> Iterator[dict[Level, PostgresStage]]:
    """A stage per level, each in a schema of its own."""
    with ExitStack() as stack:
        stages = {}
        for level in Level:
            schema = level.replace(" ", "_")
            with psycopg.connect(postgres_conninfo, autocommit=True) as connection:
                connection.execute(f"create schema {schema}".encode())
            stages[level] = stack.enter_context(PostgresStage(postgres_conninfo, level, schema=schema))
        yield stages


def played(case: Case, order: tuple[int, ...], stage: PostgresStage) -> Transcript:
    return explore_order(case, order, lambda: stage)


def matrix(stage: PostgresStage, *, at_most: int | None) -> tuple[Counter[Anomaly], set[Anomaly], Counter[Judgement]]:
    """How often each case showed its own anomaly, what was shown anywhere, and the judgements."""
    own, anywhere, judgements = Counter[Anomaly](), set[Anomaly](), Counter[Judgement]()
    for case in CASES:
        for order in choose_orders(case.lengths, at_most=at_most, seed=3).chosen:
            finding = find_anomalies(played(case, order, stage))
            judgements[finding.judgement] += 1
            anywhere |= finding.anomalies
            own[case.anomaly] += case.anomaly in finding.anomalies
    return own, anywhere, judgements


@pytest.mark.parametrize("level", Level)
def test_the_truth_table_of_the_levels_is_exact(stages: dict[Level, PostgresStage], level: Level) -> None:
    own, anywhere, judgements = matrix(stages[level], at_most=70)
    assert {anomaly for anomaly, times in own.items() if times} == ALLOWED[level]
    assert anywhere == ALLOWED[level]
    assert judgements[Judgement.UNKNOWN] == 0


@pytest.mark.slow
@pytest.mark.parametrize("level", Level)
def test_the_truth_table_holds_over_every_order_of_every_case(stages: dict[Level, PostgresStage], level: Level) -> None:
    own, anywhere, judgements = matrix(stages[level], at_most=None)
    assert {anomaly for anomaly, times in own.items() if times} == ALLOWED[level]
    assert anywhere == ALLOWED[level]
    assert judgements.total() == sum(count_orders(case.lengths) for case in CASES) == 1_890
    assert judgements[Judgement.UNKNOWN] == 0


@pytest.mark.parametrize("case", [case for case in CASES if len(case.sessions) == 2], ids=lambda case: case.anomaly)
def test_repeatable_read_and_our_snapshot_store_agree_order_by_order(stages: dict[Level, PostgresStage], case: Case) -> None:
    store = MemoryStore(Isolation.SNAPSHOT)
    for order in every_order(case.lengths):
        real = played(case, order, stages[Level.REPEATABLE_READ])
        ours = explore_order(case, order, lambda: store)
        assert find_anomalies(real).anomalies == find_anomalies(ours).anomalies, case.says(order)
        assert [real.ended(n) for n in range(2)] == [ours.ended(n) for n in range(2)], case.says(order)
        assert real.final == ours.final


def test_a_writer_that_waits_is_told_by_the_server_and_goes_on_after_the_commit(stages: dict[Level, PostgresStage]) -> None:
    transcript = played(case_of("G0"), (0, 1, 1, 0, 0, 1), stages[Level.READ_COMMITTED])
    assert [(each.session, each.step) for each in transcript.seen] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert [(each.session, each.step) for each in transcript.seen if each.waited] == [(1, 0)]
    assert transcript.final == (Row("x", 12, (WriteId(0, 0), WriteId(1, 0))), Row("y", 22, (WriteId(0, 1), WriteId(1, 1))))


def test_a_deadlock_is_resolved_by_the_server_and_one_session_commits(stages: dict[Level, PostgresStage]) -> None:
    crossed = Case(Anomaly.G0, ((Write("x", 11), Write("y", 21), Commit()), (Write("y", 22), Write("x", 12), Commit())))
    transcript = played(crossed, (0, 1, 0, 1, 0, 1), stages[Level.READ_COMMITTED])
    assert [each.reply.cause for each in transcript.seen if isinstance(each.reply, Failed)] == [Cause.DEADLOCK]
    assert sorted([transcript.ended(0), transcript.ended(1)]) == [Ended.ABORTED, Ended.COMMITTED]
    assert find_anomalies(transcript).judgement is Judgement.CLEAN


def test_a_failed_session_is_rolled_back_and_names_its_cause(stages: dict[Level, PostgresStage]) -> None:
    case = Case(Anomaly.P4, ((Read("x"), Write("x", 11), Commit()), (Read("x"), Write("x", 12), Commit())))
    transcript = played(case, (0, 1, 0, 1, 0, 1), stages[Level.REPEATABLE_READ])
    last = transcript.seen[-1].reply
    assert isinstance(last, Failed)
    assert last.cause is Cause.SERIALIZATION
    assert "concurrent update" in last.message


def test_two_inserts_of_one_key_are_a_constraint_s_refusal(stages: dict[Level, PostgresStage]) -> None:
    stage = stages[Level.READ_COMMITTED]
    one, two = stage.set((Row("x", 1),), 2)
    for session, number in ((one, 0), (two, 1)):
        session.submit(Insert("z", 5), write=WriteId(number, 0), begin=True)
        if session is one:
            assert isinstance(_awaited(one), Rows)
    while not two.blocked_by():
        assert two.reply() is None
    assert two.blocked_by() == {0}
    one.submit(Commit(), write=WriteId(0, 1), begin=False)
    assert isinstance(_awaited(one), Rows)
    refused = _awaited(two)
    assert isinstance(refused, Failed)
    assert refused.cause is Cause.CONSTRAINT
    two.rollback()


def _awaited(session: object) -> object:
    while True:
        reply = session.reply()  # type: ignore[attr-defined]
        if reply is not None:
            return reply


def test_a_waiting_statement_can_be_abandoned_and_leaves_nothing(stages: dict[Level, PostgresStage]) -> None:
    stage = stages[Level.READ_COMMITTED]
    one, two = stage.set((Row("x", 1),), 2)
    one.submit(Increment("x", 1), write=WriteId(0, 0), begin=True)
    assert isinstance(_awaited(one), Rows)
    two.submit(Increment("x", 1), write=WriteId(1, 0), begin=True)
    while not two.blocked_by():
        assert two.reply() is None
    two.rollback()
    one.rollback()
    assert stage.rows() == (Row("x", 1),)


def test_a_session_that_the_server_ends_before_its_commit_is_answered_is_unknown(
    stages: dict[Level, PostgresStage], postgres_conninfo: str
) -> None:
    stage = stages[Level.READ_COMMITTED]
    one, _ = stage.set((Row("x", 1),), 2)
    one.submit(Read("x"), write=WriteId(0, 0), begin=True)
    assert isinstance(_awaited(one), Rows)
    with psycopg.connect(postgres_conninfo) as connection:
        connection.execute("select pg_terminate_backend(%s, 5000)", (one.line.pid,))
    one.submit(Commit(), write=WriteId(0, 1), begin=False)
    lost = _awaited(one)
    assert isinstance(lost, Failed)
    assert lost.cause is Cause.LOST
    one.rollback()
    # The next order gets a new connection in its place.
    transcript = played(case_of("P4"), (0, 0, 0, 1, 1, 1), stage)
    assert find_anomalies(transcript).judgement is Judgement.CLEAN


def test_a_level_that_is_not_in_effect_is_refused(postgres_conninfo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = PostgresStage._ask

    def behind_a_proxy(self: PostgresStage, text: str) -> object:
        return real(self, text.replace("serializable", "read committed"))

    monkeypatch.setattr(PostgresStage, "_ask", behind_a_proxy)
    with (
        pytest.raises(DomainError, match="runs 'read committed' where 'serializable'"),
        PostgresStage(postgres_conninfo, Level.SERIALIZABLE),
    ):
        pass


def test_a_session_lost_while_it_blocks_another_holds_it_no_longer(
    stages: dict[Level, PostgresStage], postgres_conninfo: str
) -> None:
    stage = stages[Level.READ_COMMITTED]

    class Ending:
        """The stage, with the server ending the first session when it is asked to commit."""

        def set(self, rows: object, sessions: int) -> object:
            self.sessions = stage.set(rows, sessions)  # type: ignore[arg-type]
            first, submit = self.sessions[0], self.sessions[0].submit

            def end_it(statement: object, *, write: WriteId, begin: bool) -> None:
                if isinstance(statement, Commit):
                    with psycopg.connect(postgres_conninfo) as connection:
                        connection.execute("select pg_terminate_backend(%s)", (first.line.pid,))
                submit(statement, write=write, begin=begin)  # type: ignore[arg-type]

            first.submit = end_it  # type: ignore[method-assign]
            return self.sessions

        rows = stage.rows

    transcript = explore_order(case_of("G0"), (0, 1, 0, 0, 1, 1), Ending)  # type: ignore[arg-type]
    assert [transcript.ended(n) for n in range(2)] == [Ended.UNKNOWN, Ended.COMMITTED]
    assert find_anomalies(transcript).judgement is Judgement.UNKNOWN


def test_the_table_is_gone_after_the_stage(postgres_conninfo: str) -> None:
    with PostgresStage(postgres_conninfo, Level.SERIALIZABLE) as stage:
        played(case_of("G1a"), (0, 1, 0, 1, 1), stage)
    with psycopg.connect(postgres_conninfo) as connection:
        assert connection.execute("select to_regclass('public.isolation_case')").fetchone() == (None,)


def test_a_server_that_does_not_answer_is_a_sentence_with_a_remedy() -> None:
    with (
        pytest.raises(DomainError, match="does not take the connection") as caught,
        PostgresStage("host=/nowhere", Level.SERIALIZABLE),
    ):
        pass
    assert "address" in caught.value.remedy


def test_a_schema_that_does_not_exist_is_the_server_s_own_words(postgres_conninfo: str) -> None:
    with (
        pytest.raises(DomainError, match='schema "missing" does not exist'),
        PostgresStage(postgres_conninfo, Level.SERIALIZABLE, schema="missing"),
    ):
        pass
