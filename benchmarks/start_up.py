"""How much processor time the tool takes before it says its first word: python benchmarks/start_up.py [--rounds 10]

User and system time of whole processes, as the kernel counted them. Aims: `mastery --help` within 0.15 s, `mastery list`
within 0.3 s. Figures of a machine, not a test.
"""

import argparse
import os
import statistics
import sys
import sysconfig
from pathlib import Path

from run_path import conditions, home_of_its_own

AIMS_S = {"--help": 0.15, "list": 0.3}


def processor_s(words: list[str]) -> float:
    """User and system time of one call of the installed program."""
    program = Path(sysconfig.get_path("scripts")) / "mastery"
    nothing = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, nothing, 1), (os.POSIX_SPAWN_DUP2, nothing, 2)]
    pid = os.posix_spawn(program, [str(program), *words], dict(os.environ), file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    os.close(nothing)
    if status:
        sys.exit(f"mastery {' '.join(words)} ended with status {os.waitstatus_to_exitcode(status)}.")
    return usage.ru_utime + usage.ru_stime


def main(rounds: int) -> None:
    """Prints least and median of several rounds; the first, with cold caches, is left out."""
    print(conditions())
    with home_of_its_own():
        for word, aim_s in AIMS_S.items():
            took_s = [processor_s([word]) for _ in range(rounds + 1)][1:]
            median_s = statistics.median(took_s)
            verdict = "holds" if median_s <= aim_s else "does not hold"
            took = f"{min(took_s):.3f} s at the least, {median_s:.3f} s at the median of {rounds}"
            print(f"mastery {word}: {took}; aim {aim_s} s: {verdict}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    main(parser.parse_args().rounds)
