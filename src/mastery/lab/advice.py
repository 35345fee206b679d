"""What the engine tells the reader about their machine: values with a remedy, never a change to the machine."""

from dataclasses import dataclass

from mastery.lab.disturbance import Disturbance
from mastery.lab.machine import Machine
from mastery.lab.noise import Noise

STEAL_SHARE = 0.02
WAITING_SHARE = 0.10  # of the interval that some task stood ready without a core: somebody else was busy
FREE_MEMORY_SHARE = 0.10
SLEEP_OVERSHOOT_NS = 1_000_000
SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit")
THRIFTY_GOVERNORS = ("powersave", "conservative")


@dataclass(frozen=True, slots=True)
class Advice:
    """One observation that can bend figures; `code` is stable, `text` carries the value, `remedy` what to do."""

    code: str
    text: str
    remedy: str


def advise_on_machine(machine: Machine) -> tuple[Advice, ...]:
    """What stands about the machine before anything has been measured."""
    return (*_on_processor(machine), *_on_memory(machine), *_on_interpreter(machine))


def _on_processor(machine: Machine) -> list[Advice]:
    found: list[Advice] = []
    processor = machine.processor
    if processor.cores_usable == 1:
        found.append(
            Advice(
                "single-core",
                "Only one core is usable: load generator, server and system take turns on it.",
                "Run on a machine with at least two cores, or read every latency as that of a shared core.",
            )
        )
    # intel_pstate in active mode calls its normal governor `powersave`; it raises the frequency under load all the same.
    if processor.governor in THRIFTY_GOVERNORS and processor.frequency_driver != "intel_pstate":
        found.append(
            Advice(
                "governor-thrifty",
                f"The frequency governor is {processor.governor!r}: short bursts run at a low clock rate.",
                "For the duration of the run: cpupower frequency-set -g performance (as root, and back afterwards).",
            )
        )
    if machine.power.on_battery:
        found.append(Advice("on-battery", "The machine runs on its battery and saves power.", "Plug it in and run again."))
    if machine.clock_source in SLOW_CLOCKS:
        found.append(
            Advice(
                "slow-clock",
                f"The kernel keeps time by {machine.clock_source}: one reading of the clock costs about a microsecond.",
                "Where the hardware allows it boot with tsc as clock source; short operations need `Batched` here.",
            )
        )
    if machine.limits.cpu_cores is not None and machine.limits.cpu_cores < processor.cores_usable:
        found.append(
            Advice(
                "cpu-quota",
                f"A quota allows {machine.limits.cpu_cores:g} cores of {processor.cores_usable}: "
                "at its end everything stands still until the next period.",
                "Raise the container's CPU limit, or read the tails as those of the quota.",
            )
        )
    return found


def _on_memory(machine: Machine) -> list[Advice]:
    found: list[Advice] = []
    memory = machine.memory
    if memory.available_byte is not None and memory.total_byte:
        share = memory.available_byte / memory.total_byte
        if share < FREE_MEMORY_SHARE:
            found.append(
                Advice(
                    "low-memory",
                    f"Only {memory.available_byte / 2**30:.1f} GiB ({share:.0%}) of memory is available: "
                    "the page cache is small and reclaim will disturb.",
                    "Close other programs and run again.",
                )
            )
    if machine.load_average is not None and machine.load_average > 0.5 * machine.processor.cores_usable:
        found.append(
            Advice(
                "busy-machine",
                f"The load average is {machine.load_average:.2f} on {machine.processor.cores_usable} cores.",
                "Stop what else is running, then run again.",
            )
        )
    return found


def _on_interpreter(machine: Machine) -> list[Advice]:
    if not machine.interpreter.debug_build:
        return []
    return [
        Advice(
            "debug-python",
            "This Python is a debug build: it is several times slower than the one you deploy.",
            "Run with a release build of Python.",
        )
    ]


def advise_on_noise(noise: Noise) -> tuple[Advice, ...]:
    """What the noise measured before the run means for its figures."""
    if noise.sleep_overshoot_p99_ns <= SLEEP_OVERSHOOT_NS:
        return ()
    return (
        Advice(
            "late-wake-ups",
            f"One sleep in a hundred ended {noise.sleep_overshoot_p99_ns / 1e6:.1f} ms late or more: "
            "open-loop load is paced that badly.",
            "Look for other load, a throttled container or deep idle states; the schedule lag stands beside every percentile.",
        ),
    )


def advise_on_disturbance(disturbances: tuple[Disturbance, ...]) -> tuple[Advice, ...]:
    """What disturbed the trials, over all of them: said once, with the worst value."""
    found: list[Advice] = []
    steals = [each.steal_share for each in disturbances if each.steal_share is not None]
    if steals and max(steals) > STEAL_SHARE:
        found.append(
            Advice(
                "steal",
                f"The hypervisor took up to {max(steals):.0%} of the processor time away "
                f"({sum(each > STEAL_SHARE for each in steals)} of {len(steals)} trials above {STEAL_SHARE:.0%}).",
                "Run at a quieter hour or on a machine of your own; effects are paired within blocks, single figures are not.",
            )
        )
    throttled = sum(each.throttled_periods or 0 for each in disturbances)
    if throttled:
        stood_s = sum(each.throttled_ns or 0 for each in disturbances) / 1e9
        found.append(
            Advice(
                "throttled",
                f"A CPU quota stopped the trials in {throttled} periods, for {stood_s:.2f} s in all.",
                "Raise the container's CPU limit, or measure the quota on purpose as a factor.",
            )
        )
    waits = [each.cpu_pressure_share for each in disturbances if each.cpu_pressure_share is not None]
    if waits and sorted(waits)[len(waits) // 2] > WAITING_SHARE:
        found.append(
            Advice(
                "noisy-neighbours",
                f"In the median trial some task waited for a core {sorted(waits)[len(waits) // 2]:.0%} of the time.",
                "Stop what else is running, or lower the number of load threads below the number of cores.",
            )
        )
    return tuple(found)
