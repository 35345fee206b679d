"""Runs one case in one order on real sessions, with blocking told by the server and never by time alone.

What an order means when a session is blocked: its further steps wait, the other sessions go on in the order, and the
delayed steps run as soon as the server lets the session go on, before the order continues. A session that the store
aborted runs no further step. When the blocked sessions wait for each other, the order stands still until the store
has resolved the deadlock, so that what happens next does not depend on the machine's speed.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mastery.lab.anomalies import Case
from mastery.lab.history.transcript import Cause, Failed, Reply, Seen, Transcript
from mastery.lab.interleaving import Order
from mastery.lab.statements import Row, Statement, WriteId


class Session(Protocol):
    """One client of the store, with at most one statement on its way."""

    def submit(self, statement: Statement, *, write: WriteId, begin: bool) -> None:
        """Sends a statement and returns; `begin` starts the transaction in the same breath."""

    def reply(self) -> Reply | None:
        """The reply, after waiting for it a moment; None while the statement is still on its way."""

    def blocked_by(self) -> frozenset[int]:
        """The sessions of this case for which, by the store's own account, the statement waits."""

    def rollback(self) -> None:
        """Ends what is open, also after an error, and returns when it is gone."""


class Stage(Protocol):
    """A store on which a case can be played again and again."""

    def set(self, rows: Sequence[Row], sessions: int) -> Sequence[Session]:
        """Makes exactly these rows, and gives so many idle sessions (the same ones may serve again)."""

    def rows(self) -> tuple[Row, ...] | None:
        """The committed rows, read from outside the sessions; None when the store does not answer."""


# A stage function is called for each order: it may give the same stage again, or a new one after a loss.
Connect = Callable[[], Stage]


@dataclass(slots=True)
class _Actor:
    """One session and where it stands in its list."""

    number: int
    session: Session
    steps: tuple[Statement, ...]
    next: int = 0
    due: int = 0
    running: bool = False
    waited: bool = False
    over: bool = False


def explore_order(case: Case, order: Order, connect: Connect) -> Transcript:
    """Plays the case in the order on fresh rows and returns what the sessions saw; nothing stays open afterwards."""
    stage = connect()
    sessions = stage.set(case.rows, len(case.sessions))
    actors = [_Actor(n, session, steps) for n, (session, steps) in enumerate(zip(sessions, case.sessions, strict=True))]
    play = _Play(actors)
    try:
        for number in order:
            actors[number].due += 1
            play.go_on(actors[number])
            play.settle()
        play.finish()
    finally:
        # A session whose statement still waits cannot take a rollback: those that hold what it waits for end first.
        for actor in sorted(actors, key=lambda each: each.running):
            actor.session.rollback()
    return Transcript(case, order, tuple(play.seen), stage.rows())


class _Play:
    """The state of one order while it runs."""

    def __init__(self, actors: list[_Actor]) -> None:
        self.actors = actors
        self.seen: list[Seen] = []

    def go_on(self, actor: _Actor) -> None:
        """Runs the steps that are due, until one blocks or the session is over."""
        while actor.due > actor.next and not actor.running and not actor.over:
            write = WriteId(actor.number, actor.next)
            actor.session.submit(actor.steps[actor.next], write=write, begin=actor.next == 0)
            actor.running, actor.waited = True, False
            self._await(actor)

    def _await(self, actor: _Actor) -> None:
        """Until the reply is here, or the store says that another session blocks it."""
        while True:
            reply = actor.session.reply()
            if reply is not None:
                self._record(actor, reply)
                return
            if self._blockers(actor):
                actor.waited = True
                return

    def _blockers(self, actor: _Actor) -> frozenset[int]:
        """Who holds the actor up and can still go on; what a lost session held, its server lets go by itself."""
        return frozenset(number for number in actor.session.blocked_by() if not self.actors[number].over)

    def _record(self, actor: _Actor, reply: Reply) -> None:
        self.seen.append(Seen(actor.number, actor.next, actor.steps[actor.next], reply, actor.waited))
        actor.running = False
        actor.next += 1
        if isinstance(reply, Failed):
            actor.over = True
            # A store may keep a failed transaction's locks until it is told to end.
            if reply.cause is not Cause.LOST:
                actor.session.rollback()
        elif actor.next == len(actor.steps):
            actor.over = True

    def settle(self) -> None:
        """Until every session is idle, or blocked by one that can still go on."""
        waiting = deque(actor for actor in self.actors if actor.running)
        while waiting:
            actor = waiting.popleft()
            alone = sum(each.running for each in self.actors) == 1
            if self._blockers(actor) and (alone or not self._in_deadlock(actor)):
                continue
            reply = actor.session.reply()
            if reply is None:
                waiting.append(actor)
                continue
            self._record(actor, reply)
            self.go_on(actor)
            # Its end may have freed others, and its next step may block in its turn.
            waiting = deque(each for each in self.actors if each.running)

    def _in_deadlock(self, actor: _Actor) -> bool:
        """Whether following who waits for whom from here leads back to a session that waits."""
        reached: set[int] = set()
        ahead = [actor.number]
        while ahead:
            number = ahead.pop()
            if not self.actors[number].running:
                continue
            blockers = self._blockers(self.actors[number])
            if actor.number in blockers:
                return True
            ahead += [each for each in blockers if each not in reached]
            reached |= blockers
        return False

    def finish(self) -> None:
        """After the last step of the order: every blocked session gets its reply, as those that block it are over."""
        self.settle()
        left = [actor.number + 1 for actor in self.actors if actor.running]
        assert not left, f"sessions {left} wait for sessions that are over"
