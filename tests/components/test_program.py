"""Programs start with little, are waited for by their protocol, and end as a whole."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mastery.components import processes, program
from mastery.components.belongings import Kind, read
from mastery.components.component import Site
from mastery.components.linux import IS_LINUX
from mastery.components.program import Command
from mastery.errors import DomainError, MachineCannot


@pytest.fixture
def site(tmp_path):
    sockets = tmp_path / "sockets"
    sockets.mkdir()
    return Site("r1", tmp_path, sockets)


def python(site, code, **more):
    return Command("snake", (sys.executable, "-c", code), site.folder, **more)


def log(site):
    return (site.folder / "snake.log").read_text()


SLEEP = "import time; print('up', flush=True); time.sleep(600)"


def test_a_program_that_ends_early_is_reported_with_the_end_of_its_log(site):
    started = program.start(python(site, "import sys; print('no such disk'); sys.exit(9)"), site)
    with pytest.raises(DomainError) as failed:
        started.wait_until_ready(lambda: False)
    assert "status 9" in failed.value.message
    assert "no such disk" in failed.value.message
    assert failed.value.remedy


def test_a_program_killed_by_a_signal_is_reported_with_the_signal(site):
    started = program.start(python(site, "import os; os.kill(os.getpid(), 11)"), site)
    with pytest.raises(DomainError, match="SIGSEGV"):
        started.wait_until_ready(lambda: False)


def test_a_program_that_never_answers_is_killed_after_its_time(site):
    started = program.start(python(site, SLEEP), site)
    with pytest.raises(DomainError, match=r"within 0\.05 s"):
        started.wait_until_ready(lambda: False, timeout_s=0.05)
    assert not started.is_running()


def test_readiness_is_what_the_protocol_says(site):
    started = program.start(python(site, SLEEP), site)
    started.wait_until_ready(lambda: "up" in log(site))
    assert started.is_running()
    started.stop()
    assert not started.is_running()
    started.stop()
    started.kill()


def test_killing_takes_the_children_along_even_out_of_their_group(site):
    child = "import os, time; os.setsid(); print('up', flush=True); time.sleep(600)"
    started = program.start(
        python(site, f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(600)"), site
    )
    started.wait_until_ready(lambda: "up" in log(site))
    (below,) = processes.descendants(started.pid)
    started.kill()
    assert not processes.is_alive(below)


def test_a_program_deaf_to_the_request_is_killed(site):
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
    started = program.start(python(site, deaf), site)
    started.wait_until_ready(lambda: "up" in log(site))
    started.stop(timeout_s=0.05)
    assert not started.is_running()


def test_little_of_the_users_environment_is_inherited(site, monkeypatch):
    monkeypatch.setenv("PGHOST", "production")
    monkeypatch.setenv("LD_PRELOAD", "")
    program.run_to_end(python(site, "import os; print(sorted(os.environ))", environment={"MORE": "1"}), site)
    assert log(site) == "['HOME', 'LC_ALL', 'MASTERY_RUN', 'MORE', 'PATH', 'TZ']\n"


def test_no_descriptor_of_ours_is_inherited_and_files_are_private(site):
    reads, writes = os.pipe()
    os.set_inheritable(writes, True)
    code = "import os; open('made', 'w').close(); print([n for n in os.listdir('/proc/self/fd') if int(n) > 2][:-1])"
    program.run_to_end(python(site, code if IS_LINUX else "open('made', 'w').close(); print([])"), site)
    assert log(site) == "[]\n"
    assert (site.folder / "made").stat().st_mode & 0o077 == 0
    assert (site.folder / "snake.log").stat().st_mode & 0o077 == 0
    os.close(reads)
    os.close(writes)


def test_a_failing_tool_is_reported_and_a_slow_one_is_killed(site):
    with pytest.raises(DomainError, match="status 3"):
        program.run_to_end(python(site, "raise SystemExit(3)"), site)
    with pytest.raises(DomainError, match="did not end within"):
        program.run_to_end(python(site, SLEEP), site, timeout_s=0.05)


def test_a_program_that_is_not_there_is_named(site):
    with pytest.raises(MachineCannot, match="absent"):
        program.start(Command("snake", (str(site.folder / "absent"),), site.folder), site)


def test_a_program_is_written_down_for_the_watcher(site):
    started = program.start(python(site, SLEEP), site)
    recorded = {each.kind: each.value for each in read(site.folder)}
    assert recorded[Kind.PROGRAM] == str(Path(sys.executable).resolve())
    assert processes.Identity.decode(recorded[Kind.PROCESS]).pid == started.pid
    started.kill()


@pytest.mark.skipif(not IS_LINUX, reason="the kernel's tie between parent and child is Linux's")
@pytest.mark.parametrize("ordinary", [False, True])
def test_a_program_dies_with_its_starter(site, ordinary):
    code = (
        "import sys, time, pathlib\n"
        "from mastery.components import program\nfrom mastery.components.component import Site\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "started = program.start(program.Command('snake', (sys.executable, '-c', 'import time; time.sleep(600)'), here,"
        f" needs_ordinary_user={ordinary}), Site('r1', here, here))\n"
        "print(started.pid, flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(site.folder)], stdout=subprocess.PIPE, text=True) as starter:
        identity = processes.identify(int(starter.stdout.readline()))
        assert identity is not None
        starter.kill()
        starter.wait()
        assert processes.wait_until_gone([identity], timeout_s=10) == ()


@pytest.mark.root
def test_a_program_that_refuses_root_sees_a_user_with_a_name_and_its_files_stay_ours(site):
    code = "import os, pwd; print(os.getuid() != 0 and bool(pwd.getpwuid(os.getuid()))); open('made', 'w').close()"
    program.run_to_end(python(site, code, needs_ordinary_user=True), site)
    assert log(site) == "True\n"
    assert (site.folder / "made").stat().st_uid == os.geteuid()


def test_stopping_uses_the_signal_that_the_program_wants(site):
    polite = f"import signal, sys; signal.signal(signal.SIGINT, lambda *_: (print('bye', flush=True), sys.exit(0))); {SLEEP}"
    started = program.start(python(site, polite), site)
    started.wait_until_ready(lambda: "up" in log(site))
    started.stop(signal.SIGINT)
    assert "bye" in log(site)
