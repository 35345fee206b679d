"""The entry point: words of the command line in, exit status out."""

import argparse
import sys
from importlib.metadata import version


def main(words: list[str] | None = None) -> int:
    """Runs one command; the status is 0, or 2 for words that mean nothing."""
    parser = argparse.ArgumentParser(prog="mastery", description=sys.modules["mastery"].__doc__)
    parser.add_argument("--version", action="version", version=f"mastery {version('backend-mastery')}")
    parser.parse_args(words)
    parser.print_help()
    return 0


if __name__ == "__main__":
    sys.exit(main())
