"""Lets the tests of the reports build the same runs as the tests of the store."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "store"))
