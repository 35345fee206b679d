"""Limits put in force for real; that each is in force is read from the kernel, not from a stopwatch."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mastery.components import belongings
from mastery.components.cgroup import leftover_groups
from mastery.components.limits import Limited, LimitedBySignals, LimitedScope, Limits, Way, limit, strongest_way
from mastery.errors import DomainError, MachineCannot, UsageError

RUN = f"limits{os.getpid()}"
MIB = 2**20
# Nothing is left behind when a test fails: at the end of its input a process that was never let go ends.
BUSY = "import sys\nif not sys.stdin.readline(): sys.exit()\nwhile True: pass"
GREEDY = "import sys\nsys.stdin.readline()\nheld = bytearray(200 << 20)"


@pytest.fixture(params=list(Way))
def way(request: pytest.FixtureRequest) -> Way:
    chosen = Way(request.param)
    try:
        with limit(Limits(cpu_cores=0.5), run=RUN, name="probe", way=chosen) as probe, waiting("") as process:
            probe.add(process.pid)
            process.kill()
    except MachineCannot as refused:
        pytest.skip(refused.message)
    return chosen


def waiting(code: str) -> subprocess.Popen[bytes]:
    """A process that does nothing until it is told to: it is put under its limit meanwhile."""
    return subprocess.Popen([sys.executable, "-c", code or BUSY], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)


def let_go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def throttled_periods(limited: Limited) -> int:
    counted = limited.effect().throttling
    return counted.periods if counted else 0


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    with waiting(BUSY) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.root
def test_a_quota_stops_a_busy_process_again_and_again(way: Way, busy: subprocess.Popen[bytes]) -> None:
    with limit(Limits(cpu_cores=0.2), run=RUN, name="cpu", way=way) as limited:
        limited.add(busy.pid)
        assert limited.effect().cpu_cores == pytest.approx(0.2)
        let_go(busy)
        while throttled_periods(limited) < 3:
            os.sched_yield()
        counted = limited.effect().throttling
        assert counted is not None and counted.stood_ns > 0
        busy.kill()
    assert leftover_groups(RUN) == ()


@pytest.mark.root
def test_memory_beyond_the_limit_kills_or_fails_by_the_way(way: Way) -> None:
    with limit(Limits(memory_byte=64 * MIB), run=RUN, name="memory", way=way) as limited, waiting(GREEDY) as process:
        limited.add(process.pid)
        assert limited.effect().memory_byte == 64 * MIB
        let_go(process)
        if way is Way.SIGNALS:
            assert process.wait() == 1
            assert limited.effect().oom_kills is None
        else:
            assert process.wait() == -signal.SIGKILL
            assert limited.effect().oom_kills == 1
    assert leftover_groups(RUN) == ()


@pytest.mark.root
def test_the_group_goes_when_its_process_was_killed(way: Way, busy: subprocess.Popen[bytes]) -> None:
    with limit(Limits(cpu_cores=0.5, memory_byte=256 * MIB), run=RUN, name="killed", way=way) as limited:
        limited.add(busy.pid)
        let_go(busy)
        busy.kill()
    assert leftover_groups(RUN) == ()


@pytest.mark.root
def test_a_group_is_written_down_before_it_is_made(tmp_path: Path) -> None:
    try:
        with limit(Limits(cpu_cores=1), run=RUN, name="journal", journal=tmp_path, way=Way.CONTROL_GROUP):
            made = leftover_groups(RUN)
            assert {Path(each.value) for each in belongings.read(tmp_path)} == set(made)
            assert all(each.kind is belongings.Kind.CGROUP for each in belongings.read(tmp_path))
    except MachineCannot as refused:
        pytest.skip(refused.message)


def test_the_strongest_way_is_one_that_really_works() -> None:
    wanted = Limits(cpu_cores=0.5, memory_byte=256 * MIB)
    with limit(wanted, run=RUN, name="any") as limited, waiting(BUSY) as process:
        assert limited.way is strongest_way(wanted, run=RUN)
        limited.add(process.pid)
        assert limited.effect().cpu_cores == pytest.approx(0.5)
        process.kill()
    assert leftover_groups(RUN) == ()


def test_the_weaker_way_calls_itself_weaker() -> None:
    assert "weaker" in Way.SIGNALS


def test_more_cores_than_there_are_need_no_stopper(busy: subprocess.Popen[bytes]) -> None:
    cores = len(os.sched_getaffinity(0))
    limited = LimitedBySignals(Limits(cpu_cores=cores + 3))
    limited.add(busy.pid)
    effect = limited.effect()
    assert (effect.cpu_cores, effect.throttling) == (cores, None)
    limited.remove()


def test_a_stopped_process_goes_on_when_the_limit_is_lifted(busy: subprocess.Popen[bytes]) -> None:
    limited = LimitedBySignals(Limits(cpu_cores=0.02))
    limited.add(busy.pid)
    let_go(busy)
    while state(busy.pid) != "T":
        os.sched_yield()
    limited.remove()
    assert state(busy.pid) != "T"


OWNER = """
import os, signal, sys
from mastery.components.limits import LimitedBySignals, Limits
limited = LimitedBySignals(Limits(cpu_cores=0.02))
limited.add(int(sys.argv[1]))
print("limited", flush=True)
signal.pause()
"""


def test_a_stopped_process_goes_on_when_the_owner_of_the_limit_is_killed(busy: subprocess.Popen[bytes]) -> None:
    let_go(busy)
    with subprocess.Popen([sys.executable, "-c", OWNER, str(busy.pid)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"limited\n"
        while state(busy.pid) != "T":
            os.sched_yield()
        owner.kill()
    while not _runs_for(busy.pid, ticks=30):
        os.sched_yield()


def _runs_for(pid: int, *, ticks: int) -> bool:
    """Whether the process gets `ticks` of processor time without ever being seen stopped; a share of 2 % would allow none."""
    begin = _ticks(pid)
    while _ticks(pid) - begin < ticks:
        if state(pid) == "T":
            return False
    return True


def _ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def test_figures_can_be_asked_after_the_process_ended(busy: subprocess.Popen[bytes]) -> None:
    limited = LimitedBySignals(Limits(cpu_cores=0.3))
    limited.add(busy.pid)
    let_go(busy)
    while throttled_periods(limited) < 2:
        os.sched_yield()
    busy.kill()
    busy.wait()
    first = throttled_periods(limited)
    assert first >= 2
    assert throttled_periods(limited) == first
    limited.remove()


def test_a_stopper_that_was_killed_is_reported(busy: subprocess.Popen[bytes]) -> None:
    limited = LimitedBySignals(Limits(cpu_cores=0.3))
    limited.add(busy.pid)
    (stopper,) = limited.stoppers()
    os.kill(stopper, signal.SIGKILL)
    with pytest.raises(DomainError, match="is gone"):
        while True:
            limited.effect()
    limited.remove()


def test_without_systemd_its_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MachineCannot, match="systemd"), limit(Limits(cpu_cores=1), run=RUN, name="x", way=Way.SYSTEMD_SCOPE):
        pass


def test_a_systemd_that_does_not_answer_is_refused_with_its_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shell = shutil.which("sh")
    fake = tmp_path / "busctl"
    fake.write_text(f"#!{shell}\necho 'Failed to connect to bus' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    limited = LimitedScope.made(Limits(cpu_cores=1), RUN, "x")
    with pytest.raises(MachineCannot, match="Failed to connect to bus"):
        limited.add(os.getpid())
    assert limited.effect().cpu_cores is None
    limited.remove()


def test_the_words_for_systemd_name_every_limit() -> None:
    scope = LimitedScope(Limits(cpu_cores=0.2, memory_byte=64 * MIB), "mastery-r-x.scope")
    words = scope.start_words(42)
    assert words[:4] == ["ssa(sv)a(sa(sv))", "mastery-r-x.scope", "fail", "4"]
    assert words[4:8] == ["PIDs", "au", "1", "42"]
    assert words[8:] == [*("CPUQuotaPerSecUSec", "t", "200000"), *("MemoryMax", "t", "67108864"), *("MemorySwapMax", "t", "0"), "0"]


@pytest.mark.parametrize("wrong", [{}, {"cpu_cores": 0}, {"cpu_cores": -1}, {"cpu_cores": float("nan")}, {"memory_byte": 4096}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Limits(**wrong)  # type: ignore[arg-type]
