"""The folders of a run: private, owned visibly, cleared completely and nothing else with them."""

import os
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from mastery.components import belongings, janitor, linux, processes, run_folder
from mastery.components.belongings import Belonging, Kind
from mastery.components.run_folder import make_run_folder
from mastery.errors import DomainError, UsageError


@pytest.fixture(autouse=True)
def runtime(tmp_path_factory, monkeypatch):
    # The usual temporary folder of a test is too long a path for a socket.
    base = Path(f"/tmp/mt{os.getpid()}")
    base.mkdir(mode=0o700, exist_ok=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    yield base
    for each in sorted(base.rglob("*"), reverse=True):
        each.rmdir() if each.is_dir() and not each.is_symlink() else each.unlink()
    base.rmdir()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def die_owning(runs, run, after=""):
    """A process that makes the run's folder and is killed before it can clear anything."""
    code = (
        "import sys, os, signal, pathlib\n"
        "from mastery.components.run_folder import make_run_folder\n"
        "from mastery.components import belongings\n"
        "made = make_run_folder(pathlib.Path(sys.argv[1]), sys.argv[2])\n"
        f"{after}\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(runs), run], check=False, timeout=20).returncode == -9


def test_all_folders_are_private_and_vanish_with_the_run(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with make_run_folder(tmp_path / "runs", "r1", on=disk) as made:
        for folder in (tmp_path / "runs", made.folder, made.site.folder, made.site.sockets, made.site.sockets.parent):
            assert mode(folder) == 0o700
        assert made.site.folder == disk / "mastery-r1"
        assert len(os.fsencode(made.site.sockets)) <= 71
        (made.site.folder / "data").write_text("x")
        (made.site.sockets / "s").write_text("x")
    assert list(disk.iterdir()) == []
    assert not made.site.sockets.exists()
    assert not made.folder.exists()


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 41, "a b", "a\n"])
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(UsageError):
        make_run_folder(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_of_the_same_name_is_refused_and_the_first_is_kept(tmp_path):
    with make_run_folder(tmp_path, "r1") as first:
        with pytest.raises(DomainError, match="already has a folder"):
            make_run_folder(tmp_path, "r1")
        assert first.folder.is_dir()


def test_a_disk_folder_that_does_not_exist_leaves_nothing(tmp_path):
    with pytest.raises(DomainError) as refused:
        make_run_folder(tmp_path / "runs", "r1", on=tmp_path / "absent")
    assert "--on disk" in refused.value.remedy
    assert [each.name for each in (tmp_path / "runs").iterdir()] == [".gate"]


def test_a_sockets_folder_that_is_a_link_is_refused(tmp_path, runtime):
    (runtime / "mastery").symlink_to(tmp_path)
    with pytest.raises(DomainError, match="link"):
        make_run_folder(tmp_path / "runs", "r1")


def test_a_sockets_folder_open_to_others_is_refused(tmp_path, runtime):
    (runtime / "mastery").mkdir()
    (runtime / "mastery").chmod(0o755)
    with pytest.raises(DomainError, match="0755"):
        make_run_folder(tmp_path / "runs", "r1")


@pytest.mark.root
def test_a_sockets_folder_of_another_user_is_refused(tmp_path, runtime):
    (runtime / "mastery").mkdir(mode=0o700)
    os.chown(runtime / "mastery", 65534, 65534)
    with pytest.raises(DomainError, match="somebody else's"):
        make_run_folder(tmp_path / "runs", "r1")


def test_a_runtime_folder_with_too_long_a_path_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 80)))
    with make_run_folder(tmp_path, "r1") as made:
        assert made.site.sockets == Path(f"/tmp/mastery-{os.geteuid()}/r1")


def test_a_dead_runs_folders_are_swept_and_a_living_ones_are_kept(tmp_path):
    die_owning(tmp_path, "dead")
    with make_run_folder(tmp_path, "alive") as alive:
        assert [each.run for each in janitor.sweep(tmp_path)] == ["dead"]
        assert alive.folder.is_dir()
        assert alive.site.sockets.is_dir()
        assert janitor.sweep(tmp_path) == ()


def test_the_watchers_copy_of_the_lock_keeps_a_run_alive(tmp_path):
    made = make_run_folder(tmp_path, "r1")
    copy = os.dup(made.lock)
    os.close(made.lock)
    owner = made.folder / run_folder.OWNER
    owner.write_text("1 x y z")
    assert run_folder.is_owned(made.folder)
    os.close(copy)
    assert not run_folder.is_owned(made.folder)
    made.clear()


def test_a_sweep_killed_in_the_middle_is_finished_by_the_next(tmp_path):
    die_owning(tmp_path, "dead", after="(made.folder / 'data').mkdir()")
    (tmp_path / "dead").rename(tmp_path / ".dead-dead")
    (tmp_path / ".dead-dead" / run_folder.OWNER).unlink()
    (swept,) = janitor.sweep(tmp_path)
    assert (swept.run, swept.troubles) == ("dead", ())
    assert [each.name for each in tmp_path.iterdir()] == [".gate"]


def test_a_disk_folder_whose_removal_was_cut_short_is_found_again(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    made = make_run_folder(tmp_path / "runs", "r1", on=disk)
    made.site.folder.rename(disk / ".dead-mastery-r1")
    assert made.clear() == ()
    assert list(disk.iterdir()) == []
    os.close(made.lock)


def test_a_folder_that_nobody_owns_is_swept_once_it_is_old_enough_not_to_be_in_the_making(tmp_path):
    (tmp_path / "unowned").mkdir()
    assert janitor.sweep(tmp_path) == ()
    os.utime(tmp_path / "unowned", (0, 0))
    assert [each.run for each in janitor.sweep(tmp_path)] == ["unowned"]


def test_two_sweeps_at_once_are_harmless(tmp_path):
    for number in range(8):
        die_owning(tmp_path, f"dead{number}")
    code = (
        "import sys, pathlib\nfrom mastery.components.janitor import sweep\n"
        "print([trouble for swept in sweep(pathlib.Path(sys.argv[1])) for trouble in swept.troubles])"
    )
    sweeps = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [each.communicate(timeout=30)[0] for each in sweeps] == ["[]\n", "[]\n"]
    assert [each.name for each in tmp_path.iterdir()] == [".gate"]


def test_a_folder_without_the_runs_name_is_never_removed(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    link = tmp_path / "link-r1"
    link.symlink_to(precious)
    made = make_run_folder(tmp_path / "runs", "r1")
    for path in (precious, link, Path("/"), Path("relative-r1")):
        belongings.record(made.folder, Kind.FOLDER, str(path))
    belongings.record(made.folder, Kind.CGROUP, str(precious))
    made.clear()
    os.close(made.lock)
    assert precious.is_dir()
    assert link.is_symlink()


def test_a_link_inside_a_run_is_removed_and_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    with make_run_folder(tmp_path / "runs", "r1") as made:
        (made.folder / "link").symlink_to(precious)
    assert (precious / "file").read_text() == "x"


def test_a_torn_or_strange_line_of_the_journal_is_left_out(tmp_path):
    (tmp_path / belongings.JOURNAL).write_bytes(b"folder /x-r1\nnonsense\nprocess \n\xff\xfe 1\nprocess what\nfolder /torn")
    assert belongings.read(tmp_path) == (Belonging(Kind.FOLDER, "/x-r1"), Belonging(Kind.PROCESS, "what"))
    assert belongings.clear(tmp_path, "r1") == ()


def test_a_recorded_process_is_ended_and_a_reused_pid_is_not(tmp_path):
    made = make_run_folder(tmp_path, "r1")
    with subprocess.Popen(["sleep", "600"]) as ours, subprocess.Popen(["sleep", "600"]) as foreign:
        belongings.record(made.folder, Kind.PROCESS, processes.identify(ours.pid).encode())
        other = processes.identify(foreign.pid).encode().rpartition(" ")[0] + " 17"
        belongings.record(made.folder, Kind.PROCESS, other)
        assert made.clear() == ()
        assert ours.wait(timeout=10) == -9
        assert foreign.poll() is None
        foreign.kill()
    os.close(made.lock)


def test_a_shell_that_looks_at_the_folder_is_not_a_stray_of_the_run(tmp_path):
    made = make_run_folder(tmp_path, "r1")
    sleep = Path("/bin/sleep").resolve()
    with subprocess.Popen(["sleep", "600"], cwd=made.folder) as visitor:
        assert belongings.clear(made.folder / "absent", "r1") == ()
        belongings.record(made.folder, Kind.PROGRAM, "/usr/bin/postgres")
        found = belongings._strays({"/usr/bin/postgres"}, [made.folder], "r1")
        assert visitor.pid not in [each.pid for each in found]
        found = belongings._strays({str(sleep)}, [made.folder], "r1")
        assert visitor.pid in [each.pid for each in found]
        visitor.kill()
    made.clear()
    os.close(made.lock)


@pytest.mark.root
def test_mounts_and_loop_devices_of_a_dead_run_are_freed_first(tmp_path):
    die_owning(tmp_path, "dead")
    mounted = tmp_path / "dead" / "with space"
    mounted.mkdir()
    linux.mount("tmpfs", mounted, "tmpfs")
    (mounted / "file").write_text("x")
    image = tmp_path / "dead" / "image"
    with image.open("wb") as file:
        file.truncate(1 << 20)
    loop = subprocess.run(["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True).stdout.strip()
    # A holder keeps the mount busy.
    with (mounted / "file").open("rb"):
        (swept,) = janitor.sweep(tmp_path)
    assert swept.troubles == ()
    assert not mounted.exists()
    assert belongings.mounts_below([tmp_path]) == []
    backing = Path("/sys/block") / Path(loop).name / "loop/backing_file"
    assert not backing.exists()


@pytest.mark.root
def test_cgroups_of_a_dead_run_are_removed(tmp_path):
    root = next((each for each in (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")) if os.access(each, os.W_OK)), None)
    if root is None:
        pytest.skip("no writable cgroup hierarchy")
    group = root / f"mastery-dead{os.getpid()}"
    (group / "inner").mkdir(parents=True)
    # A process that nobody wrote down, still inside.
    stray = subprocess.Popen(["sleep", "600"])
    (group / "inner" / "cgroup.procs").write_text(str(stray.pid))
    die_owning(tmp_path, f"dead{os.getpid()}", after=f"belongings.record(made.site.folder, belongings.Kind.CGROUP, {str(group)!r})")
    (swept,) = janitor.sweep(tmp_path)
    assert swept.troubles == ()
    assert not group.exists()
    assert stray.wait(timeout=10) == -9


@pytest.mark.skipif(not linux.IS_LINUX, reason="/dev/shm is Linux's")
def test_shared_memory_of_a_dead_server_is_removed_with_what_it_lists_and_nothing_else(tmp_path):
    handles = [900_000_000 + os.getpid() * 10 + number for number in range(3)]
    control, listed, foreign = (Path(f"/dev/shm/PostgreSQL.{each}") for each in handles)
    item = struct.pack("IINNP?7x", handles[1], 1, 0, 0, 0, False) + struct.pack("IINNP?7x", handles[2], 0, 0, 0, 0, False)
    control.write_bytes(struct.pack("III4x", 0x9A503D32, 2, 8) + item)
    listed.write_bytes(b"x" * 64)
    foreign.write_bytes(b"x" * 64)
    made = make_run_folder(tmp_path, "r1")
    namespace = Path("/proc/self/ns/ipc").stat().st_ino
    precious = tmp_path / "PostgreSQL.1"
    precious.write_text("x")
    for line in (f"{namespace} file {control}", f"1 file {foreign}", f"{namespace} file {precious}", "nonsense"):
        belongings.record(made.folder, Kind.SHARED_MEMORY, line)
    assert made.clear() == ()
    os.close(made.lock)
    assert (control.exists(), listed.exists(), foreign.exists(), precious.exists()) == (False, False, True, True)
    foreign.unlink()


def test_sweeping_where_nothing_is_does_nothing(tmp_path):
    assert janitor.sweep(tmp_path / "absent") == ()
    assert janitor.sweep(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []
