"""The wheel: everything in it, and a clear word when a foreign package hides ours."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter of a new environment with our wheel in it, and this one's third-party packages beside it."""
    directory = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    _run(*pip, "wheel", "--no-deps", "-w", str(directory), str(_ROOT))
    venv.create(directory / "venv", with_pip=True)
    python = directory / "venv" / "bin" / "python"
    (wheel,) = directory.glob("*.whl")
    _run(str(python), "-m", "pip", "--disable-pip-version-check", "-q", "install", "--no-deps", str(wheel))
    site = next((directory / "venv" / "lib").glob("python*/site-packages"))
    shared = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    (site / "third_party.pth").write_text(str(shared))
    return python


def _run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_an_installed_wheel_works_elsewhere(python: Path, tmp_path: Path) -> None:
    """From any directory the installed command finds its own packages and data files."""
    command = str(python.with_name("otlp-receiver"))

    assert _run(command, "version", cwd=tmp_path).stdout.startswith("otlp-receiver ")

    _run(command, "validate", cwd=tmp_path)
    home = _run(
        str(python), "-c", "import config.conventions as c; print(c.__file__, len(c.load_conventions()))", cwd=tmp_path
    )

    assert str(python.parent.parent) in home.stdout
    assert int(home.stdout.split()[-1]) >= 2
    assert "CREATE TABLE" in _run(command, "schema", "sql", cwd=tmp_path).stdout


def test_a_foreign_package_is_named(python: Path, tmp_path: Path) -> None:
    """Another `config` on the path stops the import with the name of the intruder and the cure."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "__init__.py").touch()
    done = subprocess.run(
        [str(python), "-c", "import otlp_receiver"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert f"is hidden by {tmp_path / 'config' / '__init__.py'}" in done.stderr
    assert "virtual environment of its own" in done.stderr
