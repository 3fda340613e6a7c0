"""The layout holds: imports go one way, everything is packaged, code stays small, every test says what it proves."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parent.parent
# Each package may import itself and those before it.
_PACKAGES: Final = ("config", "pipelines", "exporters", "otlp_receiver")
_SOURCES: Final = sorted(path for package in _PACKAGES for path in (_ROOT / package).rglob("*.py"))
_MOST_LINES: Final = 400
_MOST_FUNCTION_LINES: Final = 40


def _name(path: Path) -> str:
    return path.relative_to(_ROOT).as_posix()


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, first name) of every import, wherever it stands; relative ones as '.'."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." if node.level else (node.module or "").partition(".")[0]


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("package", _PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    """otlp_receiver → exporters → pipelines → config: no package imports one that comes after it, or a test."""
    forbidden = {*_PACKAGES[_PACKAGES.index(package) + 1 :], "tests", "benchmarks"}
    wrong = [
        f"{_name(path)}:{line} imports {imported}"
        for path in (_ROOT / package).rglob("*.py")
        for line, imported in _imports(path)
        if imported in forbidden
    ]
    assert wrong == []


def test_imports_are_absolute() -> None:
    """Whoever reads an import sees which package it crosses into."""
    assert [f"{_name(path)}:{line}" for path in _SOURCES for line, name in _imports(path) if name == "."] == []


def test_every_package_is_shipped() -> None:
    """Each folder with Python files of the four packages is listed in pyproject.toml, and nothing else is."""
    listed = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    found = {_name(path.parent).replace("/", ".") for path in _SOURCES}
    assert sorted(listed) == sorted(found)


def test_every_folder_is_a_package() -> None:
    """A folder without __init__.py would be left out of an installation."""
    assert [_name(path) for path in _SOURCES if not (path.parent / "__init__.py").exists()] == []


def test_files_and_functions_stay_small() -> None:
    """No file above 400 lines, no function above 40 without its docstring."""
    long_files = [_name(path) for path in _SOURCES if len(path.read_text("utf-8").splitlines()) > _MOST_LINES]
    long_functions = [
        f"{_name(path)}:{function.lineno} {function.name}"
        for path in _SOURCES
        for function in _functions(path)
        if _lines(function) > _MOST_FUNCTION_LINES
    ]
    assert (long_files, long_functions) == ([], [])


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    docstring = ast.get_docstring(function, clean=False) or ""
    return (function.end_lineno or function.lineno) - function.lineno + 1 - len(docstring.splitlines())


def test_every_test_says_what_it_proves() -> None:
    """Each test function has a docstring of one sentence that starts its text."""
    silent = [
        f"{_name(path)}:{function.lineno} {function.name}"
        for path in (_ROOT / "tests").rglob("test_*.py")
        for function in _functions(path)
        if function.name.startswith("test_") and not (ast.get_docstring(function) or "").strip()
    ]
    assert silent == []


def test_only_the_composition_root_knows_the_parts() -> None:
    """Concrete buffers and exporters are chosen in tables, not imported by name elsewhere."""
    concrete = {"pipelines.buffers.local", "exporters.chdb", "exporters.debug", "exporters.file"}
    wrong = [
        f"{_name(path)}: {node.module}"
        for path in _SOURCES
        if path.parent.name not in ("buffers", "exporters")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ImportFrom) and node.module in concrete
    ]
    assert wrong == []
