"""The threads or processes that drive a load side by side, each with its own operation, randomness and samples."""

import contextlib
import os
import pickle
import signal
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random
from typing import Any, assert_never

from mastery.components.forking import Tether, fork_tethered
from mastery.errors import DomainError
from mastery.lab.load import Arrivals, Closed, Load, Open
from mastery.lab.operation import HistoryEntry, Loader, Op, PerWorker
from mastery.lab.trial import Clock, Samples, closed_loop, open_loop

# Every loader starts at one agreed moment this far ahead, so that the first operations meet the full load.
HEAD_START_NS = 2_000_000


class LoaderDied(DomainError):
    """A loader ended before its load was driven; the trial is void."""

    code = "loader-died"


@dataclass(slots=True)
class Gathered:
    """What all loaders of one trial measured."""

    samples: list[Samples] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)
    history: list[HistoryEntry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Drive:
    """One load to be driven for `seconds`; the seed decides arrivals and the loaders' own randomness."""

    load: Load
    seconds: float
    seed: int
    clock: Clock


def drive(op: Op | PerWorker, drive_: Drive) -> Gathered:
    """Drives `op` by the load and gathers what every loader measured.

    A single loader runs in the calling thread: neither a second thread nor a second process disturbs it.
    """
    if drive_.load.processes:
        return _in_processes(op, drive_)
    return _in_threads(op, drive_)


def arrivals(load: Open, *, seconds: float, seed: int, begin_ns: int, share: int = 1) -> Iterator[tuple[int, int]]:
    """Numbers and intended starts for `seconds` at the load's rate divided by `share`.

    The sum of independent Poisson streams is Poisson: each of `share` processes may draw its own.
    """
    rng = Random(seed)
    rate = load.rate / share
    due_s = 0.0
    for i in count():
        due_s += rng.expovariate(rate) if load.arrivals is Arrivals.POISSON else 1.0 / rate
        if due_s >= seconds:
            return
        yield i, begin_ns + int(due_s * 1e9)


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one loader of a load does: which of them it is, from when, and the arrivals it draws from (open loop)."""

    index: int
    begin_ns: int
    stream: Iterator[tuple[int, int]] | None


def _loop(op: Op, drive_: Drive, turn: _Turn, samples: Samples) -> None:
    begin_ns, stream = turn.begin_ns, turn.stream
    match drive_.load:
        case Closed() as closed:
            # The operations divided among the loaders; the first of them take what is left over.
            each = None if closed.operations is None else divmod(closed.operations, closed.loaders)
            limit = None if each is None else each[0] + (turn.index < each[1])
            until_ns = begin_ns + int(drive_.seconds * 1e9)
            closed_loop(op, clock=drive_.clock, until_ns=until_ns, operations=limit, samples=samples)
        case Open():
            assert stream is not None
            open_loop(op, stream, clock=drive_.clock, samples=samples)
        case _:
            assert_never(drive_.load)


def _entered(op: Op | PerWorker, loader: Loader) -> contextlib.AbstractContextManager[Op]:
    return op.make(loader) if isinstance(op, PerWorker) else contextlib.nullcontext(op)


def _in_threads(op: Op | PerWorker, drive_: Drive) -> Gathered:
    load = drive_.load
    loaders = [Loader(index, Random(drive_.seed * 1_000_003 + index)) for index in range(load.loaders)]
    gathered = Gathered(samples=[Samples() for _ in loaders])
    with contextlib.ExitStack() as stack:
        operations = [stack.enter_context(_entered(op, loader)) for loader in loaders]
        begin_ns = drive_.clock() + (HEAD_START_NS if len(loaders) > 1 else 0)
        stream: Iterator[tuple[int, int]] | None = None
        if isinstance(load, Open):
            plain = arrivals(load, seconds=drive_.seconds, seed=drive_.seed, begin_ns=begin_ns)
            stream = _Shared(plain) if len(loaders) > 1 else plain
        if len(loaders) == 1:
            _loop(operations[0], drive_, _Turn(0, begin_ns, stream), gathered.samples[0])
        else:
            pairs = enumerate(zip(operations, gathered.samples, strict=True))
            _side_by_side([partial(_loop, op, drive_, _Turn(index, begin_ns, stream), into) for index, (op, into) in pairs])
    for loader in loaders:
        gathered.tally.update(loader.tally)
        gathered.history.extend(loader.history)
    return gathered


class _Shared:
    """One stream that several threads draw from; a bare generator refuses to be entered twice at once."""

    def __init__(self, stream: Iterator[tuple[int, int]]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return self

    def __next__(self) -> tuple[int, int]:
        with self._lock:
            return next(self._stream)


def _side_by_side(jobs: list[Callable[[], None]]) -> None:
    """Runs the jobs in threads; the first exception of any of them is raised when all have ended."""
    failures: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _in_processes(op: Op | PerWorker, drive_: Drive) -> Gathered:
    """Forks the loaders; each reports that it is ready, waits for the agreed start, and sends back what it measured."""
    loads = drive_.load.processes
    children: list[_Child] = []
    gathered = Gathered()
    try:
        for index in range(loads):
            children.append(_fork(index, op, drive_))
        for child in children:
            _await_readiness(child)
        begin_ns = drive_.clock() + HEAD_START_NS
        for child in children:
            os.write(child.orders, begin_ns.to_bytes(8, "little"))
        for child in children:
            samples, tally, history = _received(child)
            gathered.samples.append(samples)
            gathered.tally.update(tally)
            gathered.history.extend(history)
    finally:
        for child in children:
            child.end()
    return gathered


@dataclass(slots=True)
class _Child:
    index: int
    pid: int
    messages: Any
    orders: int
    tether: int
    reaped: int | None = None

    def end(self) -> None:
        os.close(self.orders)
        os.close(self.tether)
        self.messages.close()
        if self.reaped is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.reaped = os.waitpid(self.pid, 0)[1]


def _ending(child: _Child) -> str:
    child.reaped = os.waitpid(child.pid, 0)[1]
    code = os.waitstatus_to_exitcode(child.reaped)
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _await_readiness(child: _Child) -> None:
    match child.messages.read(1):
        case b"r":
            return
        case b"":
            raise LoaderDied(
                f"Loader {child.index} ended before it was ready: {_ending(child)}.", remedy="See what its set-up calls."
            )
        case first:
            raise pickle.loads(first + child.messages.read())  # noqa: S301  (written by our own fork of a moment ago)


def _received(child: _Child) -> tuple[Samples, Counter[str], list[HistoryEntry]]:
    try:
        answer = pickle.load(child.messages)  # noqa: S301  (written by our own fork of a moment ago)
    except EOFError:
        raise LoaderDied(f"Loader {child.index} died: {_ending(child)}.", remedy="See what its operation calls.") from None
    if isinstance(answer, BaseException):
        raise answer
    latencies, lateness, samples, tally, history = answer
    samples.latencies, samples.lateness = array("q", latencies), array("q", lateness)
    return samples, tally, history


def _fork(index: int, op: Op | PerWorker, drive_: Drive) -> _Child:
    messages_out, messages_in = os.pipe()
    orders_out, orders_in = os.pipe()

    def load(_: Tether) -> int:
        os.close(messages_out)
        os.close(orders_in)
        with os.fdopen(messages_in, "wb") as messages:
            _load_in_child(index, op, drive_, messages, orders_out)
        return 0

    pid, tether = fork_tethered(load)
    os.close(messages_in)
    os.close(orders_out)
    return _Child(index, pid, os.fdopen(messages_out, "rb"), orders_in, tether)


def _load_in_child(index: int, op: Op | PerWorker, drive_: Drive, messages: Any, orders: int) -> None:
    loader = Loader(index, Random(drive_.seed * 1_000_003 + index))
    samples = Samples()
    try:
        with _entered(op, loader) as operation:
            messages.write(b"r")
            messages.flush()
            begin_ns = int.from_bytes(os.read(orders, 8), "little")
            stream = None
            if isinstance(drive_.load, Open):
                seed = drive_.seed * 7_919 + index
                stream = arrivals(drive_.load, seconds=drive_.seconds, seed=seed, begin_ns=begin_ns, share=drive_.load.processes)
            _loop(operation, drive_, _Turn(index, begin_ns, stream), samples)
        latencies, lateness = samples.latencies.tobytes(), samples.lateness.tobytes()
        samples.latencies = samples.lateness = array("q")
        answer: Any = (latencies, lateness, samples, loader.tally, loader.history)
    except Exception as failure:
        answer = failure
    messages.write(_packed(answer))


def _packed(answer: Any) -> bytes:
    """The answer for the pipe; what cannot cross it (many an exception can be packed and not unpacked) goes as its words."""
    try:
        packed = pickle.dumps(answer)
        if isinstance(answer, BaseException):
            pickle.loads(packed)  # noqa: S301  (packed by the line above)
    except Exception:
        return pickle.dumps(RuntimeError(repr(answer)))
    return packed
