"""The store of known isolation keeps exactly the promises that the checkers are held against."""

from mastery.lab.history.transcript import Cause, Failed, Reply, Rows
from mastery.lab.statements import Abort, Commit, Increment, Insert, Read, Row, Statement, Write, WriteId
from mastery.workloads.memory_store import Isolation, MemorySession, MemoryStore

BEFORE = (Row("x", 10), Row("y", 20))


class Client:
    """A session that numbers its own statements."""

    def __init__(self, session: MemorySession) -> None:
        self.session, self.step = session, 0

    def __call__(self, statement: Statement) -> Reply | None:
        self.session.submit(statement, write=WriteId(self.session.number, self.step), begin=self.step == 0)
        self.step += 1
        return self.session.reply()

    def read(self, key: str) -> int | None:
        reply = self(Read(key))
        assert isinstance(reply, Rows)
        return reply.rows[0].value if reply.rows else None


def clients(isolation: Isolation) -> tuple[MemoryStore, Client, Client]:
    store = MemoryStore(isolation)
    one, two = (Client(session) for session in store.set(BEFORE, 2))
    return store, one, two


def test_without_isolation_uncommitted_writes_are_seen_and_taken_back() -> None:
    store, one, two = clients(Isolation.NONE)
    one(Write("x", 11))
    one(Insert("z", 31))
    assert (two.read("x"), two.read("z")) == (11, 31)
    one(Abort())
    assert (two.read("x"), two.read("z")) == (10, None)
    assert store.rows() == BEFORE


def test_an_abort_without_isolation_keeps_what_others_wrote_on_top() -> None:
    store, one, two = clients(Isolation.NONE)
    one(Write("x", 11))
    two(Write("x", 12))
    one(Write("x", 13))
    one(Abort())
    assert store.rows()[0] == Row("x", 12, (WriteId(1, 0),))


def test_a_snapshot_does_not_move_and_the_first_updater_wins() -> None:
    store, one, two = clients(Isolation.SNAPSHOT)
    assert two.read("x") == 10
    one(Increment("x", 5))
    assert two(Write("x", 99)) is None
    assert two.session.blocked_by() == {0}
    one(Commit())
    refused = two.session.reply()
    assert isinstance(refused, Failed)
    assert refused.cause is Cause.SERIALIZATION
    assert store.rows()[0] == Row("x", 15, (WriteId(0, 0),))


def test_a_waiting_writer_goes_on_when_the_first_updater_aborts() -> None:
    store, one, two = clients(Isolation.SNAPSHOT)
    one(Write("x", 11))
    assert two(Write("x", 12)) is None
    one(Abort())
    assert two.session.reply() == Rows((Row("x", 12, (WriteId(1, 0),)),))
    two(Commit())
    assert store.rows()[0].value == 12


def test_a_serial_store_holds_everybody_up_until_the_end() -> None:
    _, one, two = clients(Isolation.SERIAL)
    one(Read("y"))
    assert two(Read("x")) is None
    assert two.session.blocked_by() == {0}
    one(Write("x", 11))
    one(Commit())
    assert two.session.reply() == Rows((Row("x", 11, (WriteId(0, 1),)),))
