"""The entry point: `mastery WORDS` and `python -m mastery WORDS`."""

import sys

from mastery.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
