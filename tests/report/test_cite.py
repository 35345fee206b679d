import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import rfc8785
from stored_runs import a_run

from mastery.errors import DomainError
from mastery.lab.document import ComponentRecord, RuleRecord, RunDocument, TrialRecord, canonical, content_hash, sealed
from mastery.lab.event import Judged
from mastery.lab.experiment import Factor, Metric, experiment
from mastery.lab.histogram import Histogram
from mastery.lab.plan import Header, Plan, Task
from mastery.lab.planning import Mode
from mastery.lab.run import perform
from mastery.report.cite import bundle, cite
from mastery.report.sourced import Provenance, SourcedRun

SOURCE = b"# the experiment as it was run\n"


@experiment(
    id="cited",
    question="Can 100 % of it be recomputed?",
    factors=[Factor("pace", ["base", "slow", "lame"], baseline="base")],
    metrics=[
        Metric("p50", "s", better="lower", primary=True),
        Metric("p99", "s", better="lower"),
        Metric("work", "op/s", better="higher"),
        Metric("lost", "record", better="lower", role="guardrail"),
    ],
)
def cited(arm: Any) -> Iterator[Any]:
    yield lambda _: None


def measured(*, seed: int = 1, mode: Mode = Mode.NORMAL, void: Callable[[Task], bool] = lambda _: False) -> RunDocument:
    """A run through the engine's own loop and judging, on a machine made of random numbers."""
    random = np.random.default_rng(seed)
    now = [0.0]

    def start(task: Task) -> tuple[TrialRecord, Histogram | None]:
        now[0] += task.seconds
        if void(task):
            return TrialRecord(
                block=task.block, arm=task.slot.arm, status="void", cause="fell over", placebo=task.slot.placebo
            ), None
        samples_ns = (1e6 * (1 + task.slot.arm) * random.lognormal(0, 0.3, 500)).astype(np.int64)
        histogram = Histogram.from_samples(samples_ns)
        figures = {
            "p50": histogram.percentile_ns(0.5) / 1e9,
            "p99": histogram.percentile_ns(0.99) / 1e9,
            "work": float(random.lognormal(3, 0.1)),
            "lost": float(random.integers(0, 3) if task.slot.arm == 1 else 0),
        }
        record = TrialRecord(
            block=task.block, arm=task.slot.arm, status="ok", placebo=task.slot.placebo, cold=task.cold, metrics=figures
        )
        return record, histogram

    header = Header(run="r1", article="an_article", started="2026-11-22T10:00:00Z", package="0.1.0")
    plan = Plan(cited, header, mode, seed, trial_s=0.2, budget_s=60.0, arms=cited.arms())
    *_, last = perform(plan, start, lambda: now[0], finished=lambda: "2026-11-22T10:01:00Z")
    assert isinstance(last, Judged)
    declaration = {**last.document.declaration, "source": hashlib.sha256(SOURCE).hexdigest()}
    return sealed(msgspec.structs.replace(last.document, declaration=declaration))


def unpack(document: RunDocument, folder: Path, *, source: bytes | None = SOURCE) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in bundle(SourcedRun(document), source=source, lock=b"numpy==2.1\n").items():
        (folder / name).write_bytes(content)
    return folder


def recompute(folder: Path) -> tuple[int, str]:
    """What the script of a bundle says, run as a stranger would: isolated from every package of this environment."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", folder / "recompute.py"], capture_output=True, text=True, cwd="/", check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_sentence_says_how_where_with_what_and_when() -> None:
    postgres = ComponentRecord(name="postgres", how="embedded", version="16.2")
    document = a_run(components=[postgres])
    sentence = cite(SourcedRun(document)).sentence
    for part in (
        "fsync-cost, run run-aaaa, 2026-11-22: 6 randomised complete blocks of 3 arms, quick mode (an indication)",
        "Hodges-Lehmann",
        "unadjusted",
        "2-core virtual machine, Linux 6.18",
        "postgres 16.2 (embedded)",
        "Backend Engineering Mastery 0.1.0",
        document.hash,
    ):
        assert part in sentence
    assert "\n" not in sentence


def test_what_is_not_our_own_counted_or_interrupted_is_said() -> None:
    assert "run run-aaaa (imported)" in cite(SourcedRun(a_run(), Provenance.IMPORTED)).sentence
    assert "exact counts, 3 arms, no interval" in cite(SourcedRun(a_run(rule=RuleRecord(blocks=1, reason="exact")))).sentence
    assert "stopped before its planned end" in cite(SourcedRun(a_run(stopped="interrupted"))).sentence
    assert "Holm-adjusted over the arms for p50" in cite(SourcedRun(measured())).sentence


def test_bibtex_escapes_what_latex_would_read_as_a_command() -> None:
    bibtex = cite(SourcedRun(a_run(question="100 % of {it} & \\input{x}\n_now_?"))).bibtex
    assert bibtex.startswith("@misc{mastery-run-aaaa,\n")
    assert r"100 \% of \{it\} \& \textbackslash{}input\{x\} \_now\_?" in bibtex
    assert "year = {2026}" in bibtex
    unescaped = bibtex.replace("\\{", "").replace("\\}", "")
    assert unescaped.count("{") == unescaped.count("}")


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("mode", [Mode.QUICK, Mode.NORMAL])
def test_a_stranger_recomputes_every_figure_of_a_bundle(seed: int, mode: Mode, tmp_path: Path) -> None:
    document = measured(seed=seed, mode=mode)
    status, said = recompute(unpack(document, tmp_path / "bundle"))
    assert (status, " 0 differ" in said) == (0, True), said
    assert int(said.split()[0]) >= 3 * 4 + 2 * 3 + 3 * 6


def test_void_trials_and_an_arm_that_was_given_up_are_paired_as_the_run_paired_them(tmp_path: Path) -> None:
    def void(task: Task) -> bool:
        return not task.cold and (task.slot.arm == 2 or (task.slot.arm == 1 and task.block == 2))

    document = measured(void=void)
    assert any(trial.status == "void" for trial in document.trials)
    assert document.effect(1, "p50") is not None
    status, said = recompute(unpack(document, tmp_path / "bundle"))
    assert status == 0, said


def forged(document: RunDocument, change: Callable[[dict[str, Any]], None]) -> RunDocument:
    """The document after a change by somebody who knows how to compute a hash."""
    body = msgspec.to_builtins(document)
    change(body)
    return sealed(msgspec.convert(body, RunDocument))


def first_of(body: dict[str, Any], part: str, **like: Any) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in body[part] if all(each[key] == value for key, value in like.items()))
    return found


FORGERIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "a median": lambda body: first_of(body, "estimates", metric="work").update(value=1e6),
    "a percentile": lambda body: first_of(body, "estimates", metric="p99").update(value=1e-9),
    "an end of an interval": lambda body: first_of(body, "estimates", metric="work").update(low=0.0),
    "a ratio": lambda body: first_of(body, "effects", metric="p50").update(ratio=0.5),
    "an unadjusted interval": lambda body: first_of(body, "effects", metric="work").update(high=1.0001),
    "a guardrail": lambda body: first_of(body, "guardrails", arm=1).update(maximum=0.0),
    "a bound": lambda body: first_of(body, "guardrails", arm=0).update(share_at_most=0.001),
    "a count of losses": lambda body: first_of(body, "guardrails", arm=1).update(trials_with_any=0),
    "a raw trial": lambda body: first_of(body, "trials", arm=1, cold=False)["metrics"].update(work=1e9),
    "a trial made void": lambda body: first_of(body, "trials", arm=1, cold=False).update(status="void"),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_changed_figure_is_detected_although_the_hash_was_computed_again(what: str, tmp_path: Path) -> None:
    document = forged(measured(), FORGERIES[what])
    assert content_hash(document) == document.hash
    status, said = recompute(unpack(document, tmp_path / "bundle"))
    assert status == 1
    assert "DIFFERS" in said
    assert "hash:" not in said


def test_a_changed_byte_is_detected_by_the_hash(tmp_path: Path) -> None:
    folder = unpack(measured(), tmp_path / "bundle")
    text = (folder / "run.json").read_bytes()
    (folder / "run.json").write_bytes(text.replace(b'"seed":1', b'"seed":2'))
    status, said = recompute(folder)
    assert (status, "DIFFERS  hash" in said) == (1, True)


def test_another_experiment_beside_the_run_is_detected(tmp_path: Path) -> None:
    folder = unpack(measured(), tmp_path / "bundle")
    (folder / "experiment.py").write_bytes(SOURCE + b"# and more\n")
    status, said = recompute(folder)
    assert (status, "experiment.py is not the text that was run" in said) == (1, True)


def test_a_bundle_holds_the_canonical_run_and_refuses_a_source_that_was_changed_since() -> None:
    document = measured()
    files = bundle(SourcedRun(document), source=SOURCE, lock=b"numpy==2.1\n")
    assert sorted(files) == ["README.txt", "citation.bib", "experiment.py", "recompute.py", "requirements.lock", "run.json"]
    assert files["run.json"] == canonical(document)
    assert json.loads(files["run.json"])["hash"] == document.hash
    assert "experiment.py" not in bundle(SourcedRun(document), source=None, lock=b"")
    with pytest.raises(DomainError, match="was changed since run r1") as refusal:
        bundle(SourcedRun(document), source=b"something else", lock=b"")
    assert "mastery run cited" in refusal.value.remedy


def test_a_run_that_an_older_version_wrote_is_bundled_as_it_was_written(tmp_path: Path) -> None:
    body = json.loads(canonical(measured()))
    del body["hash"]
    for each in body["trials"]:
        for name in ("reference", "counters", "switches"):
            del each[name]
    text = rfc8785.dumps({**body, "hash": "sha256:" + hashlib.sha256(rfc8785.dumps(body)).hexdigest()})
    document = msgspec.json.decode(text, type=RunDocument)
    for name, content in bundle(SourcedRun(document), source=SOURCE, lock=b"", text=text).items():
        (tmp_path / name).write_bytes(content)
    status, said = recompute(tmp_path)
    assert status == 0, said
