import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from crash_kit import lost, processes_that_mention, wait_until, whole_records, write_writers
from hypothesis import given
from hypothesis import strategies as st

from mastery.components.component import Here, Missing
from mastery.components.crash_places import Cut, find_place, places_for
from mastery.components.power_cut import AckLog, Aftermath, Moment, Since, WriterCall, run_and_cut
from mastery.components.process_kill import ProcessKill
from mastery.components.writer_process import SEARCH
from mastery.errors import DomainError


@pytest.fixture
def writers(tmp_path: Path) -> str:
    return write_writers(tmp_path)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


# ---- what the lines say ----


def test_the_lines_of_a_writer_are_taken_in_order() -> None:
    log = AckLog()
    log.feed(b"ready\n0\n1\njournal 1\n2\ndone\n")
    assert (log.ready, log.done, log.acknowledged, log.at_journal_write) == (True, True, [0, 1, 2], [2])


def test_a_line_without_its_end_is_not_believed() -> None:
    log = AckLog()
    log.feed(b"ready\n1\n23")
    assert log.acknowledged == [1]


@given(st.lists(st.integers(-5, 10**9), max_size=20), st.lists(st.integers(0, 60), max_size=8))
def test_it_does_not_matter_in_which_pieces_the_lines_arrive(numbers: list[int], cuts: list[int]) -> None:
    data = b"ready\n" + b"".join(b"%d\n" % each for each in numbers) + b"failed Oh: no\n"
    whole, pieces = AckLog(), AckLog()
    whole.feed(data)
    places = [0, *sorted(min(each, len(data)) for each in cuts), len(data)]
    for start, end in itertools.pairwise(places):
        pieces.feed(data[start:end])
    assert pieces.acknowledged == whole.acknowledged == numbers
    assert pieces.failure == whole.failure == "Oh: no"


def test_what_was_acknowledged_since_the_last_journal_write_starts_anew_with_each() -> None:
    after = Aftermath(Path(), "", "", acknowledged=(1, 2, 3, 4), finished=False, cut_after_s=1, recovery_s=0)
    assert after.acknowledged_since_journal_write == (1, 2, 3, 4)
    written = Aftermath(
        Path(), "", "", acknowledged=(1, 2, 3, 4), finished=False, cut_after_s=1, recovery_s=0, acknowledged_at_journal_write=(1, 3)
    )
    assert written.acknowledged_since_journal_write == (4,)


# ---- the order of things, on a place that only notes them ----


@dataclass
class NotingPlace:
    """Plays a writer: what it says before the cut and in the instant of the cut."""

    before: bytes
    at_cut: bytes = b""
    silent: bool = False
    notes: list[str] = field(default_factory=list)
    kind: str = "a cut on paper"
    models: str = "nothing"
    instant: bool = True
    _writing: int = -1

    def find(self, folder: Path) -> Here | Missing:
        return Here(how="paper")

    @contextmanager
    def prepare(self, folder: Path) -> Iterator["NotingPlace"]:
        self.notes.append("prepared")
        try:
            yield self
        finally:
            self._end()
            self.notes.append("removed")

    def start(self, call: WriterCall) -> int:
        reading, self._writing = os.pipe()
        os.write(self._writing, self.before)
        if not self.silent:
            return reading
        self._end()
        return reading

    def cut(self) -> None:
        self.notes.append("cut")
        os.write(self._writing, self.at_cut)
        self._end()

    def recover(self) -> Path:
        self.notes.append("recovered")
        return Path("/found")

    def diagnosis(self) -> str:
        return "last words"

    def _end(self) -> None:
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1


def cut_on_paper(place: NotingPlace, moment: Moment | None = None, *, patience_s: float = 5) -> Aftermath:
    with run_and_cut(place, WriterCall("x:y"), moment or Moment(0), folder=Path("/x"), patience_s=patience_s) as after:
        place.notes.append("read")
        return after


def test_a_place_is_prepared_cut_recovered_read_and_removed_in_this_order() -> None:
    place = NotingPlace(b"ready\n1\n")
    after = cut_on_paper(place)
    assert place.notes == ["prepared", "cut", "recovered", "read", "removed"]
    assert (after.folder, after.kind, after.models, after.finished) == (Path("/found"), "a cut on paper", "nothing", False)


def test_a_promise_that_left_the_place_counts_even_when_it_arrives_after_the_cut() -> None:
    after = cut_on_paper(NotingPlace(b"ready\n1\n", at_cut=b"2\n3\n4"))
    assert (after.acknowledged, after.late) == ((1, 2, 3), ())


def test_a_promise_made_while_a_slow_place_dies_is_late_and_counts_for_nothing() -> None:
    after = cut_on_paper(NotingPlace(b"ready\n1\n", at_cut=b"2\n3\n", instant=False))
    assert (after.acknowledged, after.late) == ((1,), (2, 3))


def test_a_cut_waits_for_the_records_that_it_is_asked_to_wait_for() -> None:
    with pytest.raises(DomainError, match="1 of 2 records"):
        cut_on_paper(NotingPlace(b"ready\n1\n"), Moment(0, at_least=2), patience_s=0.05)
    assert cut_on_paper(NotingPlace(b"ready\n1\n2\n"), Moment(0, at_least=2)).acknowledged == (1, 2)


def test_the_journal_that_the_end_itself_moves_is_not_counted() -> None:
    after = cut_on_paper(NotingPlace(b"ready\n1\njournal 1\n2\n", at_cut=b"journal 2\n"))
    assert after.acknowledged_at_journal_write == (1,)
    assert after.acknowledged_since_journal_write == (2,)


def test_an_error_that_the_writer_meets_after_the_cut_is_the_cut_and_no_failure() -> None:
    assert cut_on_paper(NotingPlace(b"ready\n1\n", at_cut=b"failed OSError: [Errno 5]\n")).acknowledged == (1,)


def test_a_failure_before_the_cut_is_told_with_its_words_and_the_place_is_removed() -> None:
    place = NotingPlace(b"ready\nfailed ValueError: upside down\n")
    with pytest.raises(DomainError, match="ValueError: upside down"):
        cut_on_paper(place, Moment(5))
    assert place.notes == ["prepared", "removed"]


def test_a_writer_that_falls_silent_is_told_with_its_last_words() -> None:
    with pytest.raises(DomainError, match=r"ended before the cut\. last words"):
        cut_on_paper(NotingPlace(b"ready\n", silent=True), Moment(5))


@pytest.mark.parametrize(("said", "since"), [(b"", Since.READY), (b"ready\n1\n", Since.DONE)])
def test_patience_with_a_writer_ends_with_what_was_waited_for(said: bytes, since: Since) -> None:
    with pytest.raises(DomainError, match=f"not {since} within"):
        cut_on_paper(NotingPlace(said), Moment(0, since), patience_s=0.05)


# ---- the kill of a process, for real ----


@pytest.mark.parametrize("arguments", [{"every": 1}, {"every": 16}, {"every": 0}, {"every": 1, "lying": True}])
def test_the_kill_of_the_writer_loses_nothing_that_write_returned_for(
    scratch: Path, writers: str, arguments: dict[str, int]
) -> None:
    with run_and_cut(ProcessKill(), WriterCall(f"{writers}:append", arguments), Moment(0.05, at_least=20), folder=scratch) as after:
        # The liar promises one record before it is written: that promise is not the page cache's.
        assert lost(after) <= (1 if arguments.get("lying") else 0)
        assert "power" not in after.kind
    assert list(scratch.iterdir()) == []


def test_a_writer_that_returned_is_finished_and_may_be_cut_later(scratch: Path, writers: str) -> None:
    call = WriterCall(f"{writers}:append", {"stop_after": 7})
    with run_and_cut(ProcessKill(), call, Moment(0.01, Since.DONE), folder=scratch) as after:
        assert after.finished
        assert (after.acknowledged, whole_records(after.folder)) == (tuple(range(7)), 7)


def test_what_was_prepared_is_there_when_the_writer_starts(scratch: Path, writers: str) -> None:
    call = WriterCall(f"{writers}:rename", {"flush": True}, prepare=f"{writers}:old_content")
    with run_and_cut(ProcessKill(), call, Moment(0, Since.DONE), folder=scratch) as after:
        assert (after.folder / "config").read_bytes() == b"new" * 1000


def test_a_writer_of_a_package_is_found_by_its_name(scratch: Path) -> None:
    call = WriterCall("mastery.components.uml_cut:write_nothing")
    with run_and_cut(ProcessKill(), call, Moment(0, Since.DONE), folder=scratch) as after:
        assert after.acknowledged == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fail", "ValueError: the disk of the writer is upside down"),
        ("vanish", "these are my last words"),
        ("does_not_exist", "AttributeError"),
    ],
)
def test_a_writer_that_goes_wrong_is_reported_and_leaves_nothing(scratch: Path, writers: str, name: str, words: str) -> None:
    with (
        pytest.raises(DomainError, match=words),
        run_and_cut(ProcessKill(), WriterCall(f"{writers}:{name}"), Moment(9), folder=scratch),
    ):
        pass
    assert list(scratch.iterdir()) == []
    assert processes_that_mention(str(scratch)) == []


def test_the_writer_is_dead_when_the_aftermath_is_read(scratch: Path, writers: str) -> None:
    with run_and_cut(ProcessKill(), WriterCall(f"{writers}:tell_where"), Moment(0, Since.DONE), folder=scratch) as after:
        (process,) = after.acknowledged
        assert not Path(f"/proc/{process}").exists()


RUN = """
import sys
from pathlib import Path
from mastery.components.crash_places import Cut, places_for
from mastery.components.power_cut import Moment, WriterCall, run_and_cut
place = places_for(Cut(sys.argv[1]))[int(sys.argv[2])]
with run_and_cut(place, WriterCall(sys.argv[3] + ":append"), Moment(60), folder=Path(sys.argv[4])):
    pass
"""


def test_a_writer_does_not_outlive_the_kill_of_who_started_it(scratch: Path, writers: str) -> None:
    environment = os.environ | {"PYTHONPATH": SEARCH}
    command = [sys.executable, "-c", RUN, Cut.PROCESS_KILL, "0", writers, str(scratch)]
    with subprocess.Popen(command, env=environment) as engine:
        wait_until(lambda: any(each.stat().st_size for each in scratch.glob("cut-*/data/log")), "the writer never wrote")
        engine.send_signal(signal.SIGKILL)
    wait_until(lambda: processes_that_mention(str(scratch)) == [], "the writer lives on")


# ---- which place for which cut ----


def test_every_cut_has_a_place_and_only_the_kill_is_not_called_a_power_cut() -> None:
    for cut in Cut:
        kinds = [place.kind for place in places_for(cut)]
        assert kinds
        assert all(kind.startswith("power cut (") for kind in kinds) is (cut is not Cut.PROCESS_KILL)


def test_every_power_cut_says_that_the_cache_of_the_drive_is_not_in_its_model() -> None:
    for cut in set(Cut) - {Cut.PROCESS_KILL}:
        assert all("not of the drive's own cache" in place.models for place in places_for(cut))


def test_mount_options_stand_in_the_name_of_the_cut() -> None:
    (place, *_) = places_for(Cut.EXT4_NOAUTO, ("commit=300",))
    assert place.kind == "power cut (shutdown ioctl, ext4 noauto_da_alloc commit=300)"


def test_the_kill_is_found_wherever_there_is_a_folder(scratch: Path) -> None:
    found = find_place(Cut.PROCESS_KILL, scratch)
    assert not isinstance(found, Missing)
    assert found[0].kind == "process kill"
    assert isinstance(find_place(Cut.PROCESS_KILL, scratch / "gone"), Missing)


def test_the_modelled_device_is_the_last_resort_and_is_called_modelled() -> None:
    *stronger, last = places_for(Cut.POWER_CUT)
    assert "modelled" in last.kind
    assert not any("modelled" in place.kind for place in stronger)


def test_a_cut_that_no_place_can_make_is_missing_with_all_reasons(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    monkeypatch.setattr("mastery.components.uml_cut.find_program", lambda name: None)
    found = find_place(Cut.EXT4, scratch)
    assert isinstance(found, Missing)
    assert "needs root" in found.reason and "linux.uml is not installed" in found.reason
    assert "user-mode-linux" in found.remedy
