"""What holds for every test: it is judged by what is true, on a busy machine and under any runner alike."""

import signal

from hypothesis import HealthCheck, settings

# A busy machine is no counter-example, neither in the examples nor in making them.
settings.register_profile("mastery", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mastery")


def go_on(number: int, frame: object) -> None:
    """Handles a signal by nothing: ours to ignore, but not handed on to the programs that the tests start."""


# A runner in the background (nohup, `&`) ignores these, and ignored signals are inherited by every program below it:
# tests that interrupt a program would wait for ever. A handler, unlike SIG_IGN, ends with the next exec.
for inherited in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    if signal.getsignal(inherited) == signal.SIG_IGN:
        signal.signal(inherited, go_on)
