"""The layers of docs/architecture.md hold; and the check would notice if they did not."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
LINT_IMPORTS = Path(sysconfig.get_path("scripts")) / "lint-imports"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    # The copy's own sources come first on the path, before the ones that the environment knows.
    command = [LINT_IMPORTS, "--no-logo", "--no-cache"]
    variables = {"PYTHONPATH": str(folder / "src"), "PATH": "/usr/bin:/bin", "COLUMNS": "300", "HOME": str(folder)}
    return subprocess.run(command, cwd=folder, env=variables, check=False, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(REPOSITORY / "src" / "mastery", tmp_path / "src" / "mastery", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_only_point_downwards():
    result = lint_imports(REPOSITORY)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("lab/wrong.py", "import mastery.store"),
        ("components/wrong.py", "import mastery.systems"),
        ("systems/wrong.py", "import mastery.errors"),
        ("new_module/__init__.py", ""),
    ],
)
def test_an_import_upwards_or_a_module_without_a_layer_is_noticed(copy, module, line):
    wrong = copy / "src" / "mastery" / module
    wrong.parent.mkdir(exist_ok=True)
    wrong.write_text(line + "\n")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert Path(module).stem in result.stdout or Path(module).parent.name in result.stdout


def test_an_article_that_imports_another_is_noticed(copy):
    for name, line in (("first_of_two", "import mastery.articles.second_of_two"), ("second_of_two", "")):
        (copy / "src" / "mastery" / "articles" / name).mkdir()
        (copy / "src" / "mastery" / "articles" / name / "__init__.py").write_text(line + "\n")
    assert lint_imports(copy).returncode == 1
