"""Whole runs are killed at every stage: nothing is left, no finished trial is lost, the next run works."""

import subprocess
import time
from collections.abc import Callable

import pytest
from whole_run_kit import QUICK, Home, Outside, Run, is_initialising, is_kept, kill, program_of, until

from mastery.components.linux import IS_LINUX

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not IS_LINUX, reason="the outside world is read from /proc")]

Moment = Callable[[Run], None]


def looking_around(run: Run) -> None:
    """Before the run itself: the main process asks the components."""
    folders = run.home.folder / "cache" / "runs"
    # In the millisecond between a folder and its watcher a kill leaves the folder to the next command.
    run.wait_until(lambda: any(folders.glob("looking-*")) and run.is_furnished("watcher"))


def making_the_server(run: Run) -> None:
    run.wait_until(lambda: is_initialising(run))


def starting_the_server(run: Run) -> None:
    run.wait_until(lambda: run.is_furnished("server"))


def in_a_trial(run: Run) -> None:
    run.wait_for("trialstarted", 4)
    run.wait_until(lambda: run.is_furnished("worker"))


def between_trials(run: Run) -> None:
    # Killed as soon as the event is told: the next worker is forked at about the same time.
    run.wait_for("trialfinished", 3)


MOMENTS = [looking_around, making_the_server, starting_the_server, in_a_trial, between_trials]


def check_that_nothing_is_left(run: Run) -> None:
    outside = Outside(run.home)
    assert until(outside.nothing), outside.left()


def check_what_the_next_commands_see(run: Run) -> None:
    """The killed run stands closed with every finished trial, and the next one works."""
    home, finished = run.home, run.finished_trials()
    closed = [row for row in home.runs() if row["experiment"] != "tiny"]
    if run.events("planned"):
        (row,) = closed
        assert row["standing"] == "interrupted"
        document = home.document(row["id"])
        assert document["stopped"] == "interrupted"
        assert is_kept(run, document)
        # One more may have been stored before its event could be told.
        assert len(finished) <= len(document["trials"]) <= len(finished) + 1
    else:
        assert not closed
    check_that_the_next_run_works(home)


def check_that_the_next_run_works(home: Home) -> None:
    assert home.mastery("run", *QUICK["tiny"], "--wait", "--json").document()["stopped"] != "interrupted"
    assert Outside(home).nothing(), Outside(home).left()


def victims_of(run: Run, victim: str) -> None:
    # The family is looked at process by process while it grows and shrinks: one may be missed at first.
    run.wait_until(lambda: set(victim.split(" and ")) <= set(run.named()))
    named = run.named()
    kill(*(named[each] for each in victim.split(" and ")))


def attack(home: Home, victim: str, moment: Moment) -> Run:
    run = home.start(*QUICK["sleepy"])
    moment(run)
    victims_of(run, victim)
    run.end()
    return run


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_main_process_takes_everything_with_it_and_no_finished_trial(home, moment):
    run = attack(home, "main process", moment)
    check_that_nothing_is_left(run)
    check_what_the_next_commands_see(run)


@pytest.mark.parametrize(
    ("victim", "moment"),
    [
        *(("run process", moment) for moment in MOMENTS[1:]),
        *((victim, moment) for victim in ("holder", "init") for moment in (making_the_server, in_a_trial)),
    ],
)
def test_a_run_that_is_killed_inside_is_told_in_one_message(home, victim, moment):
    run = attack(home, victim, moment)
    check_that_nothing_is_left(run)
    assert run.process.returncode == 3
    assert "ended by SIGKILL" in run.err.read_text()
    assert "Traceback" not in run.err.read_text()
    check_what_the_next_commands_see(run)


@pytest.mark.parametrize("moment", MOMENTS[1:])
def test_with_watcher_and_main_process_killed_the_next_command_clears(home, moment):
    run = attack(home, "watcher and main process", moment)
    outside = Outside(home)
    # The kernel needs nobody for processes and mounts; folders wait for the next command.
    assert until(lambda: not [each for each in outside.left() if not each.startswith("folder")]), outside.left()
    assert outside.folders()
    check_what_the_next_commands_see(run)


@pytest.mark.parametrize("moment", MOMENTS[1:])
def test_a_killed_watcher_is_not_missed_and_the_run_goes_on_to_its_end(home, moment):
    run = home.start(*QUICK["sleepy"])
    moment(run)
    victims_of(run, "watcher")
    assert run.end() == 0
    assert run.events("judged")
    assert Outside(home).nothing(), Outside(home).left()


@pytest.mark.parametrize("trial", [2, 4, 9])
@pytest.mark.parametrize(("victim", "cause"), [("worker", "killed by SIGKILL"), ("server", "connection")])
def test_a_killed_worker_or_server_voids_its_trial_and_the_run_goes_on(home, victim, cause, trial):
    run = home.start(*QUICK["sleepy"])
    run.wait_for("trialstarted", trial)
    run.wait_until(lambda: run.is_furnished("worker"))
    victims_of(run, victim)
    assert run.end() == 0
    document = home.document()
    void = [trial for trial in document["trials"] if trial["status"] == "void"]
    assert 1 <= len(void) <= 2, void
    assert cause in void[0]["cause"], void
    assert document["stopped"] != "interrupted"
    assert sum(trial["status"] == "ok" for trial in document["trials"]) >= 18
    assert Outside(home).nothing(), Outside(home).left()


@pytest.mark.parametrize("trials", [1, 3, 7])
def test_a_server_killed_between_trials_is_there_for_the_next_one(home, trials):
    run = home.start(*QUICK["sleepy"])
    run.wait_for("trialfinished", trials)
    victims_of(run, "server")
    assert run.end() == 0
    assert sum(trial["status"] == "void" for trial in home.document()["trials"]) <= 2


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.01, 0.02, 0.05])
def test_a_run_killed_while_it_closes_is_closed_once_with_all_its_trials(home, after_s):
    run = home.start(*QUICK["tiny"])
    trials = run.wait_for("blocksfixed")["trials"]
    run.wait_for("trialfinished", trials)
    # The moments of judging, storing, telling and clearing up lie within these few milliseconds.
    time.sleep(after_s)
    kill(run.main)
    run.end()
    check_that_nothing_is_left(run)
    (row,) = home.runs()
    document = home.document()
    assert row["standing"] in ("closed", "interrupted")
    assert len(document["trials"]) == trials
    assert is_kept(run, document)
    problems = home.mastery("doctor", "--json").document()["store"]["problems"]
    assert problems == []


@pytest.mark.parametrize("after_s", [0.4, 0.5, 0.6])
def test_a_sweep_killed_half_way_is_finished_by_the_next(home, after_s):
    run = attack(home, "watcher and main process", in_a_trial)
    assert Outside(home).folders()
    sweeper = subprocess.Popen(
        home.words("doctor", "--clean"), env=home.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    # Python takes the first third of a second to start; the sweep itself is a matter of milliseconds.
    time.sleep(after_s)
    sweeper.kill()
    sweeper.wait()
    said = home.mastery("doctor", "--clean")
    assert said.status == 0, said.err
    check_that_nothing_is_left(run)
    assert is_kept(run, home.document())


def test_doctor_clean_closes_a_killed_run_and_says_so(home):
    attack(home, "watcher and main process", in_a_trial)
    said = home.mastery("doctor", "--clean", "--json").document()
    assert (len(said["cleared"]), len(said["closed"]), said["troubles"]) == (1, 1, [])
    assert home.mastery("doctor", "--clean", "--json").document() == {"cleared": [], "closed": [], "troubles": []}


def test_a_killed_run_is_listed_as_interrupted_and_said_to_be_so(home):
    attack(home, "main process", in_a_trial)
    said = home.mastery("results")
    assert "Closed as interrupted" in said.err
    assert "interrupted" in said.out
    shown = home.mastery("results", "latest")
    assert (shown.status, shown.err) == (0, "")


def test_a_living_run_is_neither_closed_nor_cleared_by_other_commands(home):
    run = home.start(*QUICK["sleepy"])
    in_a_trial(run)
    assert home.mastery("doctor", "--clean", "--json").document() == {"cleared": [], "closed": [], "troubles": []}
    assert home.mastery("results", "--json").document()["runs"][0]["standing"] == "open"
    assert run.end() == 0
    assert home.document()["stopped"] != "interrupted"


@pytest.mark.root
@pytest.mark.parametrize("victim", ["main process", "run process", "watcher and main process"])
@pytest.mark.parametrize("moment", ["laying the file system", "its loop device is alive", "after the first cut"])
def test_a_run_killed_around_a_power_cut_leaves_neither_mount_nor_loop_device(home, victim, moment):
    outside = Outside(home)
    run = home.start("crash-loss", "--quick", "--arms", "sync=every", "--set", "crash=power_cut")
    run.wait_for("planned")
    if moment == "after the first cut":
        run.wait_for("trialfinished")
    elif moment == "laying the file system":
        run.wait_until(lambda: any(program_of(each.pid).startswith("mkfs") for each in run.family()))
    else:
        run.wait_until(lambda: bool(outside.loops()))
    victims_of(run, victim)
    run.end()
    assert until(lambda: not outside.loops()), outside.loops()
    assert until(lambda: not outside.living()), outside.living()
    check_what_the_next_commands_see(run)


@pytest.mark.root
def test_a_worker_killed_in_a_power_cut_voids_its_trial_and_the_run_goes_on(home):
    outside = Outside(home)
    run = home.start("crash-loss", "--quick", "--arms", "sync=every", "--set", "crash=power_cut")
    run.wait_for("trialstarted", 2)
    run.wait_until(lambda: run.is_furnished("worker") and bool(outside.loops()))
    victims_of(run, "worker")
    assert run.end() == 0
    (void,) = [trial for trial in home.document()["trials"] if trial["status"] == "void"]
    assert "SIGKILL" in void["cause"]
    assert outside.nothing(), outside.left()


@pytest.mark.root
@pytest.mark.parametrize(
    ("victim", "moment"),
    [
        ("main process", making_the_server),
        ("main process", in_a_trial),
        ("run process", between_trials),
        ("watcher and main process", in_a_trial),
    ],
)
def test_an_ordinary_users_run_leaves_as_little(ordinary_home, victim, moment):
    run = attack(ordinary_home, victim, moment)
    if victim != "watcher and main process":
        check_that_nothing_is_left(run)
    assert until(lambda: not Outside(ordinary_home).living()), Outside(ordinary_home).living()
    check_what_the_next_commands_see(run)
