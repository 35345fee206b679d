"""Brings an error of the run process to the main process, which alone speaks with the user."""

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mastery.errors import MasteryError

# What a pipe holds without a reader, who listens only when everybody is gone.
_MOST_BYTES = 60_000


@contextmanager
def errors_come_back(main: Callable[[], int]) -> Iterator[Callable[[], int]]:
    """Yields `main` as it should be enclosed; what it raised there of our errors is raised at the end of the block."""
    hears, tells = os.pipe()

    def told() -> int:
        try:
            return main()
        except MasteryError as error:
            os.write(tells, pickle.dumps(error))
            return error.exit_status

    try:
        yield told
        os.set_blocking(tells, False)
        # Never an empty pipe to wait at: whoever holds its other end open, we do as well.
        os.write(tells, b".")
        said = os.read(hears, _MOST_BYTES + 1)
    finally:
        os.close(hears)
        os.close(tells)
    if len(said) > 1:
        raise pickle.loads(said)  # noqa: S301 - written by our own fork over an anonymous pipe
