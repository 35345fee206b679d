"""The states that a crash may leave, worked out from a writer's own calls: exact where they can be counted, else a seeded sample.

A crash may fall after any call. What was not flushed by then may have reached the disk or not, each sector and each
name by itself, as far as the model of the file system allows. No machine is needed, so this is to be had everywhere;
what it finds are possibilities, and it says nothing about how often they happen.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mastery.components.file_operations import Acknowledge, Create, Flush, FlushFolder, Operation, Rename, Truncate, Unlink, Write


@dataclass(frozen=True, slots=True)
class Model:
    """What a file system promises about unflushed changes.

    `names_in_order`: changes of names survive as a prefix of what was done (a journal), else each by itself.
    `flush_takes_names`: the flush of a file makes all names made before it safe too (one journal for everything).
    `replacing_takes_data`: a rename over a file survives only together with the data of the file that is renamed.
    `length_alone`: a file may grow without the data that made it grow.
    """

    name: str
    names_in_order: bool
    flush_takes_names: bool
    replacing_takes_data: bool
    length_alone: bool
    sector_bytes: int = 512


POSIX = Model("POSIX", names_in_order=False, flush_takes_names=False, replacing_takes_data=False, length_alone=True)
# ext4 with data=ordered and delayed allocation; `auto_da_alloc` is the rule about replacing, which POSIX does not have.
EXT4 = Model("ext4", names_in_order=True, flush_takes_names=True, replacing_takes_data=True, length_alone=False)
EXT4_NOAUTO = Model(
    "ext4 noauto_da_alloc", names_in_order=True, flush_takes_names=True, replacing_takes_data=False, length_alone=False
)


@dataclass(frozen=True, slots=True)
class CrashState:
    """One thing that a reader may find: the files by name, and what had been acknowledged when the crash came."""

    files: tuple[tuple[str, bytes], ...]
    acknowledged: tuple[int, ...]
    after_calls: int


@dataclass(frozen=True, slots=True)
class Exploration:
    """The distinct states found; `tried` of `total` ways to crash were looked at, all of them when it is exact."""

    model: Model
    states: tuple[CrashState, ...]
    tried: int
    total: int

    @property
    def exact(self) -> bool:
        return self.tried == self.total


@dataclass(frozen=True, slots=True)
class Tally:
    """What the states mean for the acknowledged records; the worst is what a promise has to be judged by."""

    states: int
    states_with_loss: int
    states_with_torn: int
    worst_lost: int
    worst_torn: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """A change of a file that reaches the disk as a whole or not at all: a part of a sector, or a length alone."""

    file: int
    offset: int
    data: bytes
    length: int
    safe: bool = False


@dataclass(frozen=True, slots=True)
class _Names:
    """A change of names that happens as a whole; `takes` are the pieces that it takes along to the disk."""

    entries: tuple[tuple[str, int | None], ...]
    takes: frozenset[int] = frozenset()
    safe: bool = False


@dataclass(frozen=True, slots=True)
class _Point:
    """Everything that was done when the crash came, in order, and what of it is safe."""

    pieces: tuple[_Piece, ...]
    names: tuple[_Names, ...]
    acknowledged: tuple[int, ...]
    after_calls: int

    def open_pieces(self) -> list[int]:
        return [index for index, piece in enumerate(self.pieces) if not piece.safe]

    def open_names(self) -> list[int]:
        return [index for index, change in enumerate(self.names) if not change.safe]

    def ways(self, model: Model) -> int:
        names = len(self.open_names())
        return (names + 1 if model.names_in_order else 1 << names) << len(self.open_pieces())


def explore(
    operations: Sequence[Operation], model: Model, *, before: Mapping[str, bytes] | None = None, limit: int = 20_000, seed: int = 0
) -> Exploration:
    """All states that a crash during `operations` may leave, or a sample where there are more than `limit` ways to crash.

    `before` are the files that were there, and safe, when the operations began.
    """
    start = before or {}
    points = list(_points(operations, model, start))
    total = sum(point.ways(model) for point in points)
    chosen: Iterator[tuple[_Point, frozenset[int], frozenset[int]]]
    if total <= limit:
        chosen = ((point, pieces, names) for point in points for pieces, names in _every_way(point, model))
        tried = total
    else:
        # A sample never covers everything, since the ways are then more than the tries.
        chosen = _some_ways(points, model, limit, random.Random(seed))
        tried = limit
    states = dict.fromkeys(_state(point, pieces, names, start) for point, pieces, names in chosen)
    # The same files and promises may follow from crashes at several calls: the earliest speaks for all.
    first: dict[tuple[object, object], CrashState] = {}
    for state in sorted(states, key=lambda each: each.after_calls):
        first.setdefault((state.files, state.acknowledged), state)
    return Exploration(model, tuple(first.values()), tried, total)


def tally(exploration: Exploration, read: Callable[[Mapping[str, bytes]], Mapping[int, bool]]) -> Tally:
    """Counts what is missing of the acknowledged; `read` gives the records it finds, by number, and whether each is whole."""
    lost, torn = [], []
    for state in exploration.states:
        found = read(dict(state.files))
        lost.append(sum(number not in found for number in state.acknowledged))
        torn.append(sum(not found.get(number, True) for number in state.acknowledged))
    return Tally(
        states=len(exploration.states),
        states_with_loss=sum(each > 0 for each in lost),
        states_with_torn=sum(each > 0 for each in torn),
        worst_lost=max(lost, default=0),
        worst_torn=max(torn, default=0),
    )


def _points(operations: Sequence[Operation], model: Model, before: Mapping[str, bytes]) -> Iterator[_Point]:
    """The instants at which a crash may fall: before the first call, and after each."""
    history = _History(model, before)
    yield history.point(0)
    for calls, operation in enumerate(operations, start=1):
        history.add(operation)
        yield history.point(calls)


class _History:
    """What was done so far, and what of it is safe."""

    def __init__(self, model: Model, before: Mapping[str, bytes]) -> None:
        self._model = model
        self._pieces: list[_Piece] = []
        self._names: list[_Names] = []
        self._acknowledged: list[int] = []
        self._folder: dict[str, int] = {name: number for number, name in enumerate(sorted(before))}
        self._lengths = {number: len(before[name]) for name, number in self._folder.items()}

    def point(self, calls: int) -> _Point:
        return _Point(tuple(self._pieces), tuple(self._names), tuple(self._acknowledged), calls)

    def add(self, operation: Operation) -> None:
        match operation:
            case Create(file, name):
                self._folder[name], self._lengths[file] = file, 0
                self._names.append(_Names(((name, file),)))
            case Rename(old, new):
                self._rename(old, new)
            case Unlink(name):
                del self._folder[name]
                self._names.append(_Names(((name, None),)))
            case Write(file, offset, data):
                self._pieces += _cut(operation, self._lengths[file], self._model)
                self._lengths[file] = max(self._lengths[file], offset + len(data))
            case Truncate(file):
                self._pieces.append(_Piece(file, 0, b"", -1))
                self._lengths[file] = 0
            case Flush(file):
                self._pieces = [replace(each, safe=each.safe or each.file == file) for each in self._pieces]
                if self._model.flush_takes_names:
                    self._make_names_safe()
            case FlushFolder():
                self._make_names_safe()
            case Acknowledge(number):
                self._acknowledged.append(number)

    def _rename(self, old: str, new: str) -> None:
        file = self._folder.pop(old)
        takes: frozenset[int] = frozenset()
        if new in self._folder and self._model.replacing_takes_data:
            takes = frozenset(index for index, piece in enumerate(self._pieces) if piece.file == file)
        self._folder[new] = file
        self._names.append(_Names(((new, file), (old, None)), takes))

    def _make_names_safe(self) -> None:
        self._names = [replace(each, safe=True) for each in self._names]
        taken = frozenset().union(*(each.takes for each in self._names))
        self._pieces = [replace(piece, safe=piece.safe or index in taken) for index, piece in enumerate(self._pieces)]


def _cut(write: Write, length: int, model: Model) -> Iterator[_Piece]:
    """A write in parts that cannot be torn: no part crosses the border of a sector."""
    end = write.offset + len(write.data)
    if model.length_alone and end > length:
        yield _Piece(write.file, 0, b"", end)
    at = write.offset
    while at < end:
        until = min(end, (at // model.sector_bytes + 1) * model.sector_bytes)
        yield _Piece(write.file, at, write.data[at - write.offset : until - write.offset], until)
        at = until


def _every_way(point: _Point, model: Model) -> Iterator[tuple[frozenset[int], frozenset[int]]]:
    """Every choice of open pieces and open names that reached the disk."""
    open_names = point.open_names()
    if model.names_in_order:
        choices = [frozenset(open_names[:count]) for count in range(len(open_names) + 1)]
    else:
        choices = [frozenset(each) for each in _subsets(open_names)]
    for pieces in _subsets(point.open_pieces()):
        for names in choices:
            yield frozenset(pieces), names


def _some_ways(
    points: Sequence[_Point], model: Model, count: int, rng: random.Random
) -> Iterator[tuple[_Point, frozenset[int], frozenset[int]]]:
    """Crashes at instants of equal chance; how much had reached the disk by then is drawn anew each time, from none to all."""
    for _ in range(count):
        point, share = rng.choice(points), rng.random()
        pieces = frozenset(each for each in point.open_pieces() if rng.random() < share)
        open_names = point.open_names()
        if model.names_in_order:
            names = frozenset(open_names[: rng.randint(0, len(open_names))])
        else:
            names = frozenset(each for each in open_names if rng.random() < share)
        yield point, pieces, names


def _subsets(items: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return itertools.chain.from_iterable(itertools.combinations(items, size) for size in range(len(items) + 1))


def _state(point: _Point, pieces: frozenset[int], names: frozenset[int], before: Mapping[str, bytes]) -> CrashState:
    """What a reader finds when just these open changes reached the disk."""
    folder: dict[str, int] = {name: number for number, name in enumerate(sorted(before))}
    taken: set[int] = set()
    for index, change in enumerate(point.names):
        if change.safe or index in names:
            taken |= change.takes
            for name, file in change.entries:
                if file is None:
                    folder.pop(name, None)
                else:
                    folder[name] = file
    contents = {number: bytearray(before[name]) for number, name in enumerate(sorted(before))}
    for index, piece in enumerate(point.pieces):
        if piece.safe or index in pieces or index in taken:
            _apply(contents.setdefault(piece.file, bytearray()), piece)
    files = tuple((name, bytes(contents.get(file, b""))) for name, file in sorted(folder.items()))
    return CrashState(files, point.acknowledged, point.after_calls)


def _apply(content: bytearray, piece: _Piece) -> None:
    if piece.length < 0:  # a truncation
        content.clear()
        return
    if piece.length > len(content):
        content.extend(bytes(piece.length - len(content)))
    content[piece.offset : piece.offset + len(piece.data)] = piece.data
