"""What our pages say about the repository is true: links lead somewhere, Python blocks run, files named exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])


def anchors(page: Path) -> set[str]:
    """The fragments of the headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> list[str]:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path) if path else page
        if not file.exists() or (fragment and file.suffix == ".md" and fragment not in anchors(file)):
            dead.append(target)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_of_a_page_leads_somewhere(page):
    assert dead_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_the_python_of_a_page_runs(page, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for block in blocks:
        (tmp_path / "block.py").write_text(block)
        done = subprocess.run([sys.executable, "block.py"], cwd=tmp_path, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_a_link_to_nowhere_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Here\n[a](gone.md) [b](#here) [c](#there) [d](page.md#here) [e](https://example.org)\n")
    assert dead_links(page) == ["gone.md", "#there"]


def commands_shown_by(page: Path) -> set[str]:
    """The first word after `./mastery` or `mastery` in code, options and placeholders left out."""
    text = page.read_text("utf-8")
    code = re.findall(r"`([^`\n]+)`|^ {4}(.*)$", text, re.MULTILINE)
    lines = [inline or block for inline, block in code]
    shown = (re.match(r"(?:\./)?mastery ((?:--offline \S+ )?)([a-z]+)\b", line) for line in lines)
    return {match[2] for match in shown if match}


def test_every_command_that_a_page_shows_is_one_of_ours():
    ours = subprocess.check_output([sys.executable, "-m", "mastery", "--help"], text=True)
    known = set(re.findall(r"^ {4}([a-z]+) ", ours, re.MULTILINE))
    shown = {page.name: commands_shown_by(page) - known for page in PAGES}
    assert {"run", "list"} <= known
    assert {name: strange for name, strange in shown.items() if strange} == {}


def test_a_command_that_nobody_has_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Try `./mastery levitate now`, or:\n\n    mastery --offline wheels fly\n\n`./mastery` alone and `mastery/x` are none.\n"
    )
    assert commands_shown_by(page) == {"levitate", "fly"}


def test_the_index_lists_every_decision():
    folder = REPOSITORY / "docs" / "decisions"
    index = (folder / "README.md").read_text("utf-8")
    assert [page.name for page in sorted(folder.glob("2*.md")) if f"({page.name})" not in index] == []
