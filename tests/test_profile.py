"""`make profile`: what it prints, and what it says where it cannot work."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.profile import CannotProfile, hottest, record, spy


def test_hottest_functions() -> None:
    """A function's share is what it did itself; threads that wait have none."""
    busy = "run (a.py:1);walk (b.py:2) 6\nrun (a.py:1) 1\nmain (m.py:1);walk (b.py:2) 3\n"
    stacks = f"{busy}Condition.wait (threading.py:9) 90"

    assert hottest(stacks) == [("walk (b.py:2)", 0.9), ("run (a.py:1)", 0.1)]


def test_no_samples() -> None:
    """A half that only waited has no hottest functions."""
    assert hottest("Condition.wait (threading.py:9) 90") == []


@pytest.mark.parametrize(
    ("says", "cure"),
    [
        ("Permission Denied: Try running again with elevated permissions", "ptrace_scope=0"),
        ("This program requires root on OSX", "on macOS root"),
        ("Error: no such process", "no such process"),
    ],
)
def test_refusals_name_the_cure(says: str, cure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system forbids it, the message says what to do; any other fault is told in py-spy's words."""
    stand_in = tmp_path / "py-spy"
    stand_in.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 1\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    with pytest.raises(CannotProfile, match=cure):
        spy("dump")


def test_without_py_spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without it says how to get it."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    with pytest.raises(CannotProfile, match="make install"):
        spy("dump")


def test_the_real_one(tmp_path: Path) -> None:
    """py-spy takes our options and its samples name the busy function; a system that forbids it is told as such."""
    stacks = tmp_path / "stacks.txt"
    program = "def burn():\n    print('busy', flush=True)\n    while True: pass\nburn()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as busy:
        assert busy.stdout
        assert busy.stdout.readline() == b"busy\n"
        try:
            record(busy.pid, 1, "raw", stacks)
        except CannotProfile as refusal:
            outcome = str(refusal)
        else:
            outcome = hottest(stacks.read_text("utf-8"))[0][0]
        finally:
            busy.kill()
    assert outcome.startswith(("burn (", "py-spy may not look"))
