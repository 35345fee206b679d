"""Which limits stand around us, read from folders laid out as kernels lay them out, and groups of our own, made for real."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mastery.components.cgroup import (
    Effect,
    Throttling,
    ambient_limits,
    ambient_throttling,
    group_name,
    hierarchies,
    leftover_groups,
    make_group,
    oom_kills,
    own_folder,
    remove_group,
)
from mastery.errors import DomainError, UsageError

RUN = f"test{os.getpid()}"


def lay_out(root: Path, mounts: list[str], own: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/mountinfo": "\n".join(mounts) + "\n", "proc/self/cgroup": own, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def version_2(root: Path, files: dict[str, str], *, base: str = "/", own: str = "/app.slice/x.scope") -> Path:
    mounts = [
        "21 1 0:5 / /proc rw shared:2 - proc proc rw",
        f"30 1 0:26 {base} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw",
    ]
    return lay_out(root, mounts, f"0::{own}\n", {"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n", **files})


def version_1(root: Path, files: dict[str, str], *, base: str = "/", own: str = "/docker/f00") -> Path:
    mounts = [
        f"31 1 0:27 {base} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
        f"32 1 0:28 {base} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
        "33 1 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
    ]
    return lay_out(root, mounts, f"4:memory:{own}\n1:cpu,cpuacct:{own}\n0::/\n", files)


def test_the_tightest_quota_of_all_levels_counts_in_version_2(tmp_path: Path) -> None:
    top = "sys/fs/cgroup/app.slice"
    root = version_2(
        tmp_path,
        {
            f"{top}/cpu.max": "150000 100000\n",
            f"{top}/memory.max": "1073741824\n",
            f"{top}/x.scope/cpu.max": "max 100000\n",
            f"{top}/x.scope/memory.max": "536870912\n",
        },
    )
    assert ambient_limits(root=root) == (1.5, 536870912)


def test_the_tightest_quota_of_all_levels_counts_in_version_1(tmp_path: Path) -> None:
    cpu, memory = "sys/fs/cgroup/cpu,cpuacct/docker", "sys/fs/cgroup/memory/docker"
    root = version_1(
        tmp_path,
        {
            f"{cpu}/cpu.cfs_quota_us": "-1\n",
            f"{cpu}/cpu.cfs_period_us": "100000\n",
            f"{cpu}/f00/cpu.cfs_quota_us": "25000\n",
            f"{cpu}/f00/cpu.cfs_period_us": "50000\n",
            f"{memory}/memory.limit_in_bytes": "268435456\n",
            f"{memory}/f00/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert ambient_limits(root=root) == (0.5, 268435456)


def test_a_container_that_sees_only_its_own_branch_finds_its_limits(tmp_path: Path) -> None:
    """Without a namespace of its own the path in /proc/self/cgroup is the host's, and the mount shows a part of the tree."""
    root = version_1(tmp_path, {"sys/fs/cgroup/memory/memory.limit_in_bytes": "1048576\n"}, base="/docker/f00")
    assert ambient_limits(root=root) == (None, 1048576)


def test_no_limit_is_none_and_not_a_large_number(tmp_path: Path) -> None:
    root = version_2(tmp_path, {"sys/fs/cgroup/app.slice/x.scope/memory.max": "max\n"})
    assert ambient_limits(root=root) == (None, None)


def test_a_system_without_control_groups_tells_nothing(tmp_path: Path) -> None:
    assert ambient_limits(root=tmp_path) == (None, None)
    assert ambient_throttling(root=tmp_path) is None
    assert own_folder("cpu", root=tmp_path) is None


def test_throttling_is_summed_over_the_levels_and_in_nanoseconds(tmp_path: Path) -> None:
    scope = "sys/fs/cgroup/app.slice"
    files = {
        f"{scope}/cpu.stat": "usage_usec 5\nnr_periods 9\nnr_throttled 2\nthrottled_usec 70\n",
        f"{scope}/x.scope/cpu.stat": "usage_usec 5\nnr_periods 9\nnr_throttled 1\nthrottled_usec 30\n",
    }
    assert ambient_throttling(root=version_2(tmp_path, files)) == Throttling(3, 100_000)


def test_throttling_of_version_1_is_in_nanoseconds_already(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/cpu,cpuacct/docker/f00/cpu.stat": "nr_periods 9\nnr_throttled 4\nthrottled_time 123\n"}
    assert ambient_throttling(root=version_1(tmp_path, files)) == Throttling(4, 123)


def test_oom_kills_are_read_in_both_versions(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert oom_kills(tmp_path, version=2) == 1
    assert oom_kills(tmp_path, version=1) == 3


@pytest.mark.parametrize("word", ["", "../x", "a/b", "x" * 65, "a b", "a\n"])
def test_a_group_is_named_after_plain_words_only(word: str) -> None:
    with pytest.raises(UsageError):
        group_name(word, "arm")
    with pytest.raises(UsageError):
        group_name("run", word)


def test_leftovers_are_told_apart_by_run(tmp_path: Path) -> None:
    root = version_2(tmp_path, {})
    for name in ("mastery-r1-a", "deep/mastery-r1-b", "mastery-r12-a", "other"):
        (root / "sys/fs/cgroup" / name).mkdir(parents=True)
    hierarchies.cache_clear()
    assert [folder.name for folder in leftover_groups("r1", root=root)] == ["mastery-r1-b", "mastery-r1-a"]
    assert len(leftover_groups(root=root)) == 3


def test_a_group_of_version_2_hangs_from_the_top_and_holds_its_limits(tmp_path: Path) -> None:
    """By the files alone: no machine that tests run on offers version 2 with its controllers to us."""
    root = version_2(tmp_path, {})
    group = make_group("r1", "arm", cpu_cores=0.2, memory_byte=2**26, root=root)
    folder = root / "sys/fs/cgroup/mastery-r1-arm"
    assert (group.version, group.folders) == (2, {"cpu": folder, "memory": folder})
    assert (folder / "cpu.max").read_text() == "20000 100000"
    assert (folder / "memory.max").read_text() == str(2**26)
    (folder / "cpu.stat").write_text("usage_usec 1\nnr_periods 7\nnr_throttled 5\nthrottled_usec 9\n")
    (folder / "memory.events").write_text("oom 1\noom_kill 1\n")
    (folder / "memory.peak").write_text("1000\n")
    assert group.effect() == Effect(0.2, 2**26, 7, Throttling(5, 9000), 1, 1000)
    group.add(4321)
    assert (folder / "cgroup.procs").read_text() == "4321"


def test_a_group_of_version_1_hangs_from_our_own_in_each_tree(tmp_path: Path) -> None:
    own = {"sys/fs/cgroup/cpu,cpuacct/docker/f00/tasks": "", "sys/fs/cgroup/memory/docker/f00/tasks": ""}
    root = version_1(tmp_path, own)
    group = make_group("r1", "arm", cpu_cores=1.5, memory_byte=2**26, root=root)
    cpu, memory = group.folders["cpu"], group.folders["memory"]
    assert str(cpu.relative_to(root)) == "sys/fs/cgroup/cpu,cpuacct/docker/f00/mastery-r1-arm"
    assert (cpu / "cpu.cfs_quota_us").read_text() == "150000"
    assert (memory / "memory.limit_in_bytes").read_text() == str(2**26)


def test_a_controller_that_no_tree_has_is_named(tmp_path: Path) -> None:
    root = version_2(tmp_path, {"sys/fs/cgroup/cgroup.controllers": "cpu pids\n"})
    with pytest.raises(FileNotFoundError, match="memory"):
        make_group("r1", "arm", cpu_cores=1, memory_byte=2**26, root=root)
    assert not (root / "sys/fs/cgroup/mastery-r1-arm").exists()


def sleeper() -> subprocess.Popen[bytes]:
    """Ends with its input, so that a test that fails leaves nobody behind."""
    return subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)


@pytest.fixture
def needs_groups() -> None:
    try:
        make_group(RUN, "probe", cpu_cores=1, memory_byte=None).remove()
    except OSError as error:
        pytest.skip(f"no control groups here: {error}")


@pytest.mark.root
@pytest.mark.usefixtures("needs_groups")
def test_removing_a_group_kills_what_is_inside_and_may_be_repeated() -> None:
    group = make_group(RUN, "inside", cpu_cores=0.5, memory_byte=64 * 2**20)
    with sleeper() as inside:
        group.add(inside.pid)
        assert len(leftover_groups(RUN)) == len(set(group.folders.values()))
        group.remove()
        assert inside.wait() == -signal.SIGKILL
    group.remove()
    assert leftover_groups(RUN) == ()


@pytest.mark.root
@pytest.mark.usefixtures("needs_groups")
def test_removing_a_group_never_kills_the_one_who_removes_it() -> None:
    group = make_group(RUN, "self", cpu_cores=1, memory_byte=None)
    pid = os.fork()
    if pid == 0:
        try:
            group.add(os.getpid())
            group.remove()
        finally:
            os._exit(0 if not leftover_groups(RUN) else 1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.root
@pytest.mark.usefixtures("needs_groups")
def test_what_a_killed_owner_left_is_found_by_name_and_removed() -> None:
    code = f"""
import os, signal
from mastery.components.cgroup import make_group
group = make_group({RUN!r}, "left", cpu_cores=0.5, memory_byte=None)
group.add(os.getpid())
print("made", flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"made\n"
        owner.kill()
    (left,) = leftover_groups(RUN)
    assert left.name == f"mastery-{RUN}-left"
    remove_group(left)
    assert leftover_groups(RUN) == ()


@pytest.mark.root
@pytest.mark.usefixtures("needs_groups")
def test_a_group_that_was_refused_half_way_leaves_nothing() -> None:
    with pytest.raises(OSError):
        # The kernel refuses a quota below a millisecond a period, after both folders were made.
        make_group(RUN, "half", cpu_cores=0.000001, memory_byte=2**26)
    assert leftover_groups(RUN) == ()


def test_a_group_that_cannot_be_removed_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mastery.components.cgroup.REMOVAL_S", 0.0)
    folder = tmp_path / "mastery-r1-x"
    (folder / "child").mkdir(parents=True)
    with pytest.raises(DomainError, match="mastery-r1-x") as refused:
        remove_group(folder)
    assert "rmdir" in refused.value.remedy
