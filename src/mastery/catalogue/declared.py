"""Which experiments a Python file declares, read from its syntax alone: nothing of the file is executed."""

import ast
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Listing:
    """An experiment as it stands in its file: enough to list and to find it, without loading it."""

    id: str
    question: str
    file: Path
    line: int
    # The folder of its article; empty for a file of the user's own.
    article: str = ""


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something in a file that keeps it out of the catalogue, and the edit that mends it."""

    file: Path
    line: int
    text: str
    remedy: str


def experiments_in(file: Path, *, article: str = "") -> tuple[Listing, ...]:
    """The experiments that the file declares by `@experiment(id=..., question=...)`, in the order of their lines.

    Raises `SyntaxError` (or `ValueError`, `UnicodeDecodeError`) where the file is not Python, `OSError` where it
    cannot be read. A declaration whose id is computed is not listed: only loading the file can tell it.
    """
    tree = ast.parse(file.read_bytes(), filename=str(file))
    found = (_declaration(node) for node in tree.body if isinstance(node, ast.FunctionDef))
    return tuple(
        Listing(id=id_, question=question, file=file, line=line, article=article)
        for declaration in found
        if declaration is not None
        for id_, question, line in [declaration]
    )


def _declaration(function: ast.FunctionDef) -> tuple[str, str, int] | None:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and _name(decorator.func) == "experiment":
            literals = {keyword.arg: _text(keyword.value) for keyword in decorator.keywords}
            if id_ := literals.get("id"):
                return id_, literals.get("question") or "", decorator.lineno
    return None


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


def _text(value: ast.expr) -> str | None:
    """The value of a string literal; implicit concatenation over lines is one literal already."""
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
