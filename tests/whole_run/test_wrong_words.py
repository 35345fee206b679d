"""Whatever is wrong with the words, the file, the target or the folders: one message, one remedy, one status, nothing left."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from whole_run_kit import QUICK, SECONDS_FOR_A_RUN, TINY, Home, Outside, Said, is_kept

from mastery.components.linux import IS_LINUX

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not IS_LINUX, reason="the outside world is read from /proc")]

RUN_TINY = ("run", *QUICK["tiny"], "--wait")


def check_refusal(home: Home, said: Said, status: int, *words: str) -> None:
    """One message with a remedy on stderr, no traceback, and nothing left of any run."""
    assert said.status == status, (said.out, said.err)
    assert "Traceback" not in said.err
    told = [line for line in said.err.splitlines() if line.startswith("mastery: ")]
    assert len(told) == 1, said.err
    assert said.err.splitlines()[-1].startswith("         "), "the remedy stands below the message"
    for word in words:
        assert word in said.err
    assert Outside(home).nothing(), Outside(home).left()


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["fsync-cots"], 2, ["'fsync-cost'", "mastery list"]),
        (["99"], 2, ["'99'"]),
        (["./missing.py"], 2, ["There is no file"]),
        (["./tiny.py::tyni"], 2, ["'tiny'"]),
        (["./tiny.py", "--arms", "size=3,huge"], 2, ["size"]),
        (["./tiny.py", "--arms", "sice=1"], 2, ["'size'"]),
        (["./tiny.py", "--set", "size=1,2"], 2, ["--arms"]),
        (["./tiny.py", "--require", "p98 <= 1 ms"], 2, ["'p98'"]),
        (["./tiny.py", "--require", "as fast as can be"], 2, ["--require"]),
        (["./tiny.py", "--budget", "soon"], 2, ["90s"]),
        (["./tiny.py", "--budget", "-3s"], 2, ["--budget"]),
        (["./tiny.py", "--budget", "0s"], 2, ["90s"]),
        (["./tiny.py", "--seed", "4294967296"], 2, ["4294967295"]),
        (["./tiny.py", "--seed", "-1"], 2, ["4294967295"]),
        (["./tiny.py", "--seed", "many"], 2, ["--seed"]),
        (["./tiny.py", "--on", "disk=/nowhere/at/all"], 2, ["/nowhere/at/all"]),
        (["./tiny.py", "--on", "/tmp"], 2, ["disk="]),
        (["./tiny.py", "--component", "postgres=os"], 2, ["postgres"]),
        (["./sleepy.py", "--component", "postgres=nonsense"], 4, ["nonsense", "--component postgres="]),
        (["./sleepy.py", "--target", "postgres=unknown"], 2, ["unknown"]),
        (["./sleepy.py", "--target", "postgres=postgres://me:secret@host/db"], 2, ["targets file"]),
    ],
)
def test_wrong_words_end_before_anything_starts(home, words, status, told):
    said = home.mastery("run", *words)
    if words[-1] == "postgres=unknown":
        # Whether the server or only its name is missing is one question to the user: both name the targets file.
        assert said.status in (2, 3)
        check_refusal(home, said, said.status, *told)
    else:
        check_refusal(home, said, status, *told)
    assert "secret" not in said.err + said.out
    assert not (home.folder / "mastery.sqlite").exists()


FILES = {
    "syntax error": ("x = 1\ndef f(:\n", 2, "line 2"),
    "exception at import": ("import mastery\n\nraise ValueError('no, thanks')\n", 2, "no, thanks"),
    "exit at import": ("import sys\nsys.exit(0)\n", 2, "line 2"),
    "missing module": ("import nowhere_to_be_found\n", 2, "nowhere_to_be_found"),
    "no experiment": ("x = 1\n", 2, "declares no experiment"),
    "baseline that is no level": (TINY.replace("baseline=1", "baseline=3"), 2, "baseline"),
    "no metric": (TINY.replace('[Metric("p50", "s", better="lower", primary=True)]', "[]"), 2, "metric"),
    "not a text": ("\0\0\0", 2, "broken.py"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_broken_experiment_file_is_told_with_what_mends_it(home, what):
    text, status, told = FILES[what]
    (home.base / "broken.py").write_text(text)
    check_refusal(home, home.mastery("run", "./broken.py", *QUICK["tiny"][1:]), status, told)


BODIES = {
    "raises": ("    raise RuntimeError('never works')\n    yield", "never works"),
    "operation raises": ("    def op(i):\n        raise OSError('no way')\n    yield op", "no way"),
    "segfaults": ("    import ctypes\n    ctypes.string_at(0)\n    yield", "SIGSEGV"),
    "exits": ("    import os\n    os._exit(5)\n    yield", "exit status 5"),
    "yields nothing": ("    return\n    yield", ""),
    "yields nonsense": ("    yield 42", ""),
    "hangs": ("    while True:\n        pass\n    yield", "time-out"),
    "eats memory": ("    import resource\n    held = bytearray(1 << 45)\n    yield", "MemoryError"),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_trial_that_cannot_work_voids_itself_and_the_run_ends_with_its_cause(home, what):
    body, cause = BODIES[what]
    text = TINY.replace("    yield lambda i: sum(range(20_000 * arm.size))", body).replace("overhead_s=0.0", "timeout_s=0.5")
    assert body in text
    (home.base / "broken.py").write_text(text)
    said = home.mastery("run", "./broken.py", "--quick", "--budget", "4s", "--wait", "--json")
    assert "Traceback" not in said.err, said.err
    document = said.document()
    assert said.status in (0, 3), said.err
    trials = document["trials"]
    assert trials
    assert all(trial["status"] == "void" and cause in trial["cause"] for trial in trials), trials
    assert Outside(home).nothing(), Outside(home).left()
    assert home.mastery("results", "latest").status == 0


def test_a_requirement_decides_the_status(home):
    assert home.mastery(*RUN_TINY, "--require", "p50 <= 10 s").status == 0
    said = home.mastery(*RUN_TINY, "--require", "p50 <= 1 ns")
    check_refusal(home, said, 1, "p50", "mastery decide")
    assert len(home.runs()) == 2, "a run that does not satisfy is a run"


def test_the_budget_that_a_refusal_names_is_enough(home):
    said = home.mastery("run", "./tiny.py", "--quick", "--budget", "0.5s")
    check_refusal(home, said, 2, "too small")
    remedy = said.err.split("--budget ")[-1].split(",")[0]
    assert home.mastery("run", "./tiny.py", "--quick", "--budget", remedy, "--wait").status == 0


def test_a_target_that_refuses_connections_is_told_without_its_password(home):
    (home.folder / "targets.toml").write_text('[postgres.mine]\nservice = "nobody-there"\n')
    services = home.base / "pg_service.conf"
    services.write_text("[nobody-there]\nhost=127.0.0.1\nport=1\nuser=me\npassword=secret\ndbname=db\n")
    said = home.mastery("run", "./sleepy.py", "--quick", "--target", "postgres=mine", PGSERVICEFILE=str(services))
    check_refusal(home, said, 3, "mine")
    assert "secret" not in said.err


def test_a_second_run_at_once_is_refused_by_the_name_of_the_first_and_may_wait(home):
    first = home.start(*QUICK["sleepy"])
    first.wait_for("trialstarted")
    said = home.mastery("run", *QUICK["tiny"])
    assert said.status == 3
    assert first.events("planned")[0]["run"] in said.err
    assert "--wait" in said.err
    assert home.mastery("run", *QUICK["tiny"], "--wait").status == 0
    assert first.end() == 0, "the first was not disturbed"
    assert [row["experiment"] for row in home.runs()] == ["tiny", "sleepy"]


@pytest.mark.root
@pytest.mark.parametrize("closed", ["home", "home's store"])
def test_a_home_that_cannot_be_written_is_told_before_anything_is_measured(ordinary_home, closed):
    home = ordinary_home
    if closed == "home":
        home.folder.chmod(0o500)
    else:
        assert home.mastery(*RUN_TINY).status == 0
        for each in home.folder.glob("mastery.sqlite*"):
            each.chmod(0o400)
        home.folder.chmod(0o500)
    said = home.mastery(*RUN_TINY)
    home.folder.chmod(0o700)
    check_refusal(home, said, 3, "MASTERY_HOME")


def test_a_damaged_store_is_told_before_anything_is_measured_and_stays_as_it_is(home):
    database = home.folder / "mastery.sqlite"
    database.write_bytes(b"this is no database" * 500)
    said = home.mastery(*RUN_TINY)
    check_refusal(home, said, 3, "damaged", "mv ")
    assert database.read_bytes() == b"this is no database" * 500


def test_a_reader_who_goes_away_ends_neither_the_run_nor_the_command_badly(home):
    line = " ".join(home.words(*RUN_TINY)) + " | head -1"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        env=home.environment,
        cwd=home.base,
        capture_output=True,
        text=True,
        timeout=SECONDS_FOR_A_RUN,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert home.runs()[0]["standing"] == "closed"


def test_without_a_stdout_the_run_is_stored_all_the_same(home):
    line = " ".join(home.words(*RUN_TINY)) + " >&- 2>&-"
    ended = subprocess.run(["bash", "-c", line], env=home.environment, cwd=home.base, check=False, timeout=SECONDS_FOR_A_RUN)
    assert ended.returncode == 0
    assert home.runs()[0]["standing"] == "closed"


@pytest.mark.parametrize(
    "variables",
    [
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"COLUMNS": "40", "NO_COLOR": "1", "TERM": "dumb"},
        {"HOME": "/nowhere/at/all", "XDG_RUNTIME_DIR": "relative/path", "TMPDIR": "/nowhere/at/all"},
        {"HOME": "", "XDG_RUNTIME_DIR": "", "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "latin-1"},
        {"XDG_RUNTIME_DIR": "/nowhere/at/all", "COLUMNS": "nonsense"},
    ],
    ids=lambda variables: next(iter(variables.items())),
)
def test_odd_surroundings_change_nothing_about_a_run(home, variables):
    said = home.mastery(*RUN_TINY, **variables)
    assert said.status == 0, said.err
    assert "Traceback" not in said.err
    if variables.get("COLUMNS") == "40":
        # An id is never broken: it is there to be copied.
        lines = [line for line in said.out.splitlines() if "mastery " not in line and str(home.folder) not in line]
        assert all(len(line) <= 40 for line in lines if not line.lstrip().startswith("●")), said.out
    if "LANG" in variables:
        assert said.out.isascii()


def test_a_server_is_not_led_astray_by_variables_for_other_servers(home):
    said = home.mastery("run", *QUICK["sleepy"], "--wait", PGHOST="example.org", PGOPTIONS="-c nonsense=1", PGSSLMODE="require")
    assert said.status == 0, said.err


def test_without_a_home_and_without_mastery_home_there_is_one_message_or_a_run(home):
    environment = {name: value for name, value in home.environment.items() if name not in ("HOME", "MASTERY_HOME")}
    environment["XDG_DATA_HOME"], environment["XDG_CACHE_HOME"] = str(home.folder / "data"), str(home.folder / "cache")
    ended = subprocess.run(
        home.words(*RUN_TINY),
        env=environment,
        cwd=home.base,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_FOR_A_RUN,
    )
    assert ended.returncode == 0, ended.stderr
    assert (home.folder / "data" / "mastery" / "mastery.sqlite").exists()


HOSTILE = {
    "not JSON": b"hello\n",
    "half a line": b'{"kind":"run","document":{',
    "not UTF-8": b'{"kind":"\xff"}\n',
    "nested a million deep": b"[" * 1_000_000 + b"\n",
    "an unknown kind": b'{"kind":"shell","run":"rm -rf /"}\n',
    "a number beyond all": b'{"kind":"run","document":{"schema":"mastery.run/1","seed":1e999}}\n',
    "zeros": b"\0" * 4096,
}


def test_a_hostile_import_is_refused_whole(home):
    assert home.mastery(*RUN_TINY).status == 0
    exported = home.mastery("export").out.encode()
    before = home.runs()
    path = home.base / "received.jsonl"
    for what, lines in HOSTILE.items():
        path.write_bytes(exported + lines)
        said = home.mastery("import", str(path))
        assert "Line 2" in said.err, (what, said)
        check_refusal(home, said, 3)
    path.write_bytes(exported.replace(b'"seed":', b'"seed":1'))
    check_refusal(home, home.mastery("import", str(path)), 3, "hash")
    assert home.runs() == before


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (RUN_TINY, 0),
        ((*RUN_TINY, "--require", "p50 <= 1 ns"), 1),
        (("run", "./missing.py"), 2),
        (("run", "./tiny.py", "--quick", "--budget", "0.1s"), 2),
        (("results", "nothing"), 2),
        (("doctor",), None),
        (("list",), 0),
        (("results",), 0),
    ],
)
def test_with_json_stdout_is_exactly_one_document(home, words, status):
    said = home.mastery(*words, "--json")
    assert status in (None, said.status), said.err
    document = json.loads(said.out)
    assert ("error" in document) == (said.status >= 2)


@pytest.mark.root
def test_a_scratch_disk_in_memory_is_refused_with_the_way_to_choose_another(home):
    if not Path("/dev/shm").is_dir():
        pytest.skip("no tmpfs at hand")
    said = home.mastery("run", "fsync-cost", "--quick", "--on", "disk=/dev/shm")
    check_refusal(home, said, 4, "--on disk=")
    assert not list(Path("/dev/shm").glob("mastery-*"))


def test_a_chosen_folder_is_used_and_left_as_it_was(home):
    (home.base / "on").mkdir()
    (home.base / "on" / "mine").write_text("stays")
    said = home.mastery("run", "fsync-cost", "--quick", "--arms", "sync=never,every", "--budget", "5s", "--on", "disk=on", "--wait")
    assert said.status == 0, said.err
    assert [each.name for each in (home.base / "on").iterdir()] == ["mine"]


@pytest.mark.root
def test_a_full_disk_loses_no_finished_trial(home, full_disk):
    run = home.start("./tiny.py", "--quick", "--budget", "8s")
    run.wait_for("trialfinished", 5)
    full_disk.fill()
    assert run.end() == 3, run.err.read_text()
    said = run.err.read_text()
    assert "Traceback" not in said
    spilled = [word for word in said.split() if word.endswith(".jsonl")]
    assert spilled, said
    full_disk.empty()
    assert [each for each in Outside(home).left() if "tmpfs small" not in each] == []
    # What the message says works, and every trial of which was told is in what was kept.
    imported = home.mastery("import", spilled[-1])
    assert imported.status == 0, imported.err
    whole, stored = (home.document(row["id"]) for row in sorted(home.runs(), key=lambda row: row["origin"] == "own"))
    assert is_kept(run, whole)
    assert (whole["stopped"], stored["stopped"]) == ("interrupted", "interrupted")
    # The first of them stand in the store itself, as those of a killed run.
    assert 5 <= len(stored["trials"]) <= len(whole["trials"])


@pytest.mark.root
def test_a_disk_that_is_full_from_the_start_is_told_in_one_message(home, full_disk):
    full_disk.fill()
    said = home.mastery(*RUN_TINY)
    assert said.status == 3
    assert "Traceback" not in said.err
    full_disk.empty()
    assert [each for each in Outside(home).left() if "tmpfs small" not in each] == []
    assert home.mastery(*RUN_TINY).status == 0


class FullDisk:
    """A small file system under a home."""

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def empty(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def full_disk(home: Home):
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("needs root to mount")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "small", str(home.folder)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("no mount can be made here")
    home.folder.chmod(0o700)
    yield FullDisk(home.folder)
    subprocess.run(["umount", "-l", str(home.folder)], check=True)
