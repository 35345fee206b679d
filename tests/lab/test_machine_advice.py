"""Advice is a value with a remedy: given when its condition holds, and not otherwise."""

import dataclasses
from pathlib import Path

import pytest

from mastery.lab.advice import Advice, advise_on_disturbance, advise_on_machine, advise_on_noise
from mastery.lab.disturbance import Disturbance
from mastery.lab.machine import AmbientLimits, Interpreter, Machine, Memory, Power, Processor
from mastery.lab.noise import Noise

QUIET = Machine(
    machine_class="4-core machine",
    fingerprint="0" * 16,
    processor=Processor("Some CPU", 4, 4, "x86_64", "performance", "acpi-cpufreq", True),
    memory=Memory(16 * 2**30, 12 * 2**30, 0, "madvise"),
    kernel="Linux 6.18.1",
    system="Debian",
    interpreter=Interpreter("3.11.7", "CPython", gil=True, debug_build=False, optimised=False),
    clock_source="tsc",
    virtualisation=None,
    container=None,
    limits=AmbientLimits(None, None),
    power=Power(on_battery=False, battery_percent=None),
    load_average=0.1,
    pressure_avg10={},
)
CALM = Disturbance(10**9, 0.0, 1, 1, 0, 0, 0, 0.0, 0.0, 0.0)
FINE = Noise(1, 80, 20, 60_000, 120_000)


def codes(advice: tuple[Advice, ...]) -> list[str]:
    return [each.code for each in advice]


def processor(**changes: object) -> dict[str, object]:
    return {"processor": dataclasses.replace(QUIET.processor, **changes)}  # type: ignore[arg-type]


def test_a_quiet_machine_gets_no_advice() -> None:
    assert advise_on_machine(QUIET) == ()
    assert advise_on_noise(FINE) == ()
    assert advise_on_disturbance((CALM,) * 20) == ()
    assert advise_on_disturbance(()) == ()


@pytest.mark.parametrize(
    ("changes", "code", "value"),
    [
        (processor(cores_usable=1), "single-core", "one core"),
        (processor(governor="powersave"), "governor-thrifty", "powersave"),
        ({"power": Power(True, 40)}, "on-battery", "battery"),
        ({"clock_source": "hpet"}, "slow-clock", "hpet"),
        ({"clock_source": "acpi_pm"}, "slow-clock", "acpi_pm"),
        ({"limits": AmbientLimits(1.5, None)}, "cpu-quota", "1.5 cores of 4"),
        ({"memory": Memory(16 * 2**30, 2**30, 0, None)}, "low-memory", "1.0 GiB (6%)"),
        ({"load_average": 3.5}, "busy-machine", "3.50 on 4"),
        ({"interpreter": Interpreter("3.11.7", "CPython", True, True, False)}, "debug-python", "debug build"),
    ],
)
def test_each_trouble_of_a_machine_is_named_with_its_value_and_a_remedy(changes: dict[str, object], code: str, value: str) -> None:
    (advice,) = advise_on_machine(dataclasses.replace(QUIET, **changes))  # type: ignore[arg-type]
    assert advice.code == code
    assert value in advice.text
    assert advice.remedy


@pytest.mark.parametrize(
    "changes",
    [
        processor(governor="powersave", frequency_driver="intel_pstate"),
        processor(governor=None, frequency_driver=None),
        {"limits": AmbientLimits(4.0, None)},
        {"memory": Memory(16 * 2**30, None, None, None)},
        {"load_average": None},
        {"clock_source": "kvm-clock"},
    ],
)
def test_what_looks_like_trouble_and_is_none_gets_no_advice(changes: dict[str, object]) -> None:
    assert advise_on_machine(dataclasses.replace(QUIET, **changes)) == ()  # type: ignore[arg-type]


def test_late_wake_ups_are_told_in_milliseconds() -> None:
    (advice,) = advise_on_noise(dataclasses.replace(FINE, sleep_overshoot_p99_ns=4_200_000))
    assert advice.code == "late-wake-ups"
    assert "4.2 ms" in advice.text


def test_steal_is_said_once_with_the_worst_trial() -> None:
    trials = (CALM, dataclasses.replace(CALM, steal_share=0.26), dataclasses.replace(CALM, steal_share=0.03))
    (advice,) = advise_on_disturbance(trials)
    assert advice.code == "steal"
    assert "26%" in advice.text
    assert "2 of 3 trials" in advice.text


def test_throttled_periods_are_summed_over_the_trials() -> None:
    throttled = dataclasses.replace(CALM, throttled_periods=3, throttled_ns=250_000_000)
    (advice,) = advise_on_disturbance((throttled, CALM, throttled))
    assert advice.code == "throttled"
    assert "6 periods" in advice.text
    assert "0.50 s" in advice.text


def test_neighbours_are_noisy_when_the_median_trial_waits() -> None:
    waiting = dataclasses.replace(CALM, cpu_pressure_share=0.4)
    assert codes(advise_on_disturbance((waiting, waiting, CALM))) == ["noisy-neighbours"]
    assert advise_on_disturbance((waiting, CALM, CALM)) == ()


def test_a_system_that_tells_nothing_is_not_accused() -> None:
    silent = Disturbance(10**9, None, 1, 1, 0, None, None, None, None, None)
    assert advise_on_disturbance((silent,) * 6) == ()


def test_codes_are_plain_words_because_they_are_stored(tmp_path: Path) -> None:
    broken = dataclasses.replace(
        QUIET,
        processor=dataclasses.replace(QUIET.processor, cores_usable=1, governor="powersave"),
        power=Power(True, 1),
        clock_source="hpet",
        limits=AmbientLimits(0.5, None),
    )
    found = codes(advise_on_machine(broken))
    assert len(found) == len(set(found)) == 5
    assert all(code.replace("-", "").isalpha() and code.islower() for code in found)
