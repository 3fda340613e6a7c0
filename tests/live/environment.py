"""The Python environment of the applications: made once per machine and version, in build/live."""

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

import pytest

_FOLDER: Final = Path(__file__).parent
_REQUIREMENTS: Final = _FOLDER / "requirements.txt"
_CONSTRAINTS: Final = _FOLDER / "constraints.txt"
_CACHE: Final = _FOLDER.parent.parent / "build" / "live"
_STAMP: Final = "installed"
_TAIL_LINES: Final = 25


def python(screen: TextIO) -> Path:
    """The interpreter that has exactly the packages of requirements.txt, installed now if it is not there.

    Progress goes to `screen`. Fails the test, with what pip said, when the packages cannot be had.
    """
    key = hashlib.sha256(_REQUIREMENTS.read_bytes() + _CONSTRAINTS.read_bytes() + sys.version.encode())
    folder = _CACHE / key.hexdigest()[:16]
    _CACHE.mkdir(parents=True, exist_ok=True)
    with _alone():
        if not (folder / _STAMP).exists():
            _forget_others()
            _install(folder, screen)
    return folder / "bin" / "python"


def pinned() -> set[str]:
    """`name==version` of all that the two files name, without extras."""
    lines = (_REQUIREMENTS.read_text() + _CONSTRAINTS.read_text()).splitlines()
    return {re.sub(r"\[.*\]", "", line) for line in lines if line and not line.startswith("#")}


def installed(interpreter: Path) -> set[str]:
    """`name==version` of what the environment has."""
    freeze = [str(interpreter), "-m", "pip", "freeze"]
    return set(subprocess.run(freeze, capture_output=True, encoding="utf-8", check=True).stdout.split())


@contextmanager
def _alone() -> Iterator[None]:
    """Two test runs at once make one environment."""
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_others() -> None:
    """Environments of other versions, and halves of this one: some 220 MB each."""
    for folder in _CACHE.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)


def _install(folder: Path, screen: TextIO) -> None:
    print(f"\nInstalling the live instrumentations into {folder}: about a minute ", end="", file=screen, flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    what = ["--progress-bar", "off", "-r", str(_REQUIREMENTS), "-c", str(_CONSTRAINTS)]
    with subprocess.Popen(
        [*pip, *what], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    ) as installing:
        said = list(_shown(installing.stdout or (), screen))
    if installing.returncode != 0:
        tail = "".join(said[-_TAIL_LINES:])
        problem = f"pip could not install {_REQUIREMENTS} into {folder}."
        pytest.fail(f"{problem} Cure: see to what it says, then run again.\n{tail}", pytrace=False)
    (folder / _STAMP).touch()


def _shown(lines: Iterable[str], screen: TextIO) -> Iterator[str]:
    """A dot for each package."""
    for line in lines:
        if line.startswith("Collecting"):
            print(".", end="", file=screen, flush=True)
        yield line
