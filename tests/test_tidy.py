"""Size, names and habits that docs/style.md asks for, held by machine; each rule is shown to notice its offender."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = REPOSITORY / "src" / "mastery"
HOMELESS_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "core", "manager", "managers", "base", "shared"}
LONGEST_MODULE, LONGEST_FUNCTION, LONGEST_EXPERIMENT = 500, 80, 120
SHORTEST_SENTENCE = 3

# Offences that were there before their rule; the number may only go down. Empty is the aim.
RATCHET: dict[str, int] = {}


def oversized(path: Path, tree: ast.Module, text: str) -> Iterator[str]:
    lines = len(text.splitlines())
    if lines > LONGEST_MODULE:
        yield f"{lines} lines; split it at the noun that it hides (at most {LONGEST_MODULE})"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield f"{node.name} has {length} lines; name its steps (at most {LONGEST_FUNCTION})"


def named_after_nothing(path: Path, tree: ast.Module, text: str) -> Iterator[str]:
    if path.stem in HOMELESS_NAMES or path.parent.name in HOMELESS_NAMES:
        yield "named after nothing; say which noun of the field it holds"


def without_opening_sentence(path: Path, tree: ast.Module, text: str) -> Iterator[str]:
    first_line = (ast.get_docstring(tree) or "").partition("\n")[0]
    if not first_line.endswith((".", ":", ";")):
        yield "opens without one sentence of what it is for"


def unfinished(path: Path, tree: ast.Module, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        # Written in pieces, so that this line is not its own offender.
        if re.search(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|NotImplemented" + r"Error", line):
            yield f"line {number} promises instead of doing; finish it, or file it as an issue"


def printing(path: Path, tree: ast.Module, text: str) -> Iterator[str]:
    if "cli" in path.parts or path.name == "__main__.py":
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"line {node.lineno} prints; return the value, and let cli say it"


def importing_ourselves_late(path: Path, tree: ast.Module, text: str) -> Iterator[str]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for node in (inner for function in functions for inner in ast.walk(function)):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        late = isinstance(node, ast.ImportFrom) and node.level > 0
        if late or any(module.partition(".")[0] == "mastery" for module in modules):
            yield f"line {node.lineno} imports our own package inside a function; the noun lives in the wrong module"


def experimenting_by_hand(path: Path, tree: ast.Module, text: str) -> Iterator[str]:
    """An experiment is a declaration: the engine owns loop, clock and output."""
    if path.parent.parent.name != "articles" or path.name == "__init__.py":
        return
    if len(text.splitlines()) > LONGEST_EXPERIMENT:
        yield f"an experiment of more than {LONGEST_EXPERIMENT} lines; move what several need to workloads"
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.While | ast.AsyncFor):
            yield f"line {node.lineno} loops; the engine repeats"
        if isinstance(node, ast.Import) and any(alias.name == "time" for alias in node.names):
            yield f"line {node.lineno} takes a clock; the engine measures"
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield f"line {node.lineno} takes a clock; the engine measures"


def named_without_a_sentence(path: Path, tree: ast.Module, text: str) -> Iterator[str]:
    if not path.name.startswith("test_"):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            words = node.name.removeprefix("test_").split("_")
            if len(words) < SHORTEST_SENTENCE:
                yield f"{node.name} is no sentence; say what holds"


Rule = Callable[[Path, ast.Module, str], Iterator[str]]
OF_SOURCES: list[Rule] = [
    oversized,
    named_after_nothing,
    without_opening_sentence,
    unfinished,
    printing,
    importing_ourselves_late,
    experimenting_by_hand,
]
# A module of tests needs no opening sentence: the names of its tests are sentences.
OF_TESTS: list[Rule] = [oversized, named_after_nothing, unfinished, named_without_a_sentence]


def offences(rule: Rule, folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text("utf-8")
        found += [f"{path.relative_to(folder)}: {offence}" for offence in rule(path, ast.parse(text), text)]
    return found


@pytest.mark.parametrize("rule", OF_SOURCES, ids=lambda rule: rule.__name__)
def test_no_module_of_the_sources_is(rule):
    found = offences(rule, SOURCES) + offences(rule, REPOSITORY / "launcher")
    assert len(found) <= RATCHET.get(rule.__name__, 0), "\n".join(found)


@pytest.mark.parametrize("rule", OF_TESTS, ids=lambda rule: rule.__name__)
def test_no_module_of_the_tests_is(rule):
    found = offences(rule, REPOSITORY / "tests")
    assert len(found) <= RATCHET.get(f"tests: {rule.__name__}", 0), "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (oversized, "long.py", '"""Long."""\n' + "x = 1\n" * LONGEST_MODULE),
        (oversized, "long.py", "def long():\n" + "    x = 1\n" * LONGEST_FUNCTION),
        (named_after_nothing, "utils.py", ""),
        (named_after_nothing, "common/thing.py", ""),
        (without_opening_sentence, "mute.py", "x = 1\n"),
        (without_opening_sentence, "mute.py", '"""no sentence"""\n'),
        (unfinished, "later.py", "# TO" + "DO: all of it\n"),
        (printing, "lab/loud.py", "print(1)\n"),
        (importing_ourselves_late, "late.py", "def f():\n    from mastery.lab import run\n"),
        (importing_ourselves_late, "late.py", "def f():\n    from . import run\n"),
        (importing_ourselves_late, "late.py", "async def f():\n    import mastery.lab\n"),
        (experimenting_by_hand, "articles/x/loop.py", "for i in range(3): pass\n"),
        (experimenting_by_hand, "articles/x/loop.py", "def f():\n    while True: pass\n"),
        (experimenting_by_hand, "articles/x/clock.py", "from time import monotonic\n"),
        (experimenting_by_hand, "articles/x/long.py", "x = 1\n" * (LONGEST_EXPERIMENT + 1)),
        (named_without_a_sentence, "test_x.py", "def test_short(): pass\n"),
    ],
)
def test_each_rule_notices_its_offender(tmp_path, rule, path, text):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    assert len(offences(rule, tmp_path)) == 1


def test_the_rules_let_good_modules_pass(tmp_path):
    opening = '"""Says how late a timer is."""\n\n\n'
    (tmp_path / "lateness.py").write_text(
        opening + "def lateness_ns(due_ns, now_ns):\n    import numpy\n\n    return numpy.max(now_ns - due_ns)\n"
    )
    assert [found for rule in OF_SOURCES for found in offences(rule, tmp_path)] == []
