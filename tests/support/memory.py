"""The memory of another process, as Linux counts it."""

from pathlib import Path

import psutil

MIB = 2**20


class Memory:
    """Of one process.

    Attributes:
        before_bytes: when the watching began.
    """

    def __init__(self, process: psutil.Process) -> None:
        self._directory = Path("/proc") / str(process.pid)
        (self._directory / "clear_refs").write_text("5")  # the highest mark starts anew (proc_pid_clear_refs(5))
        self.before_bytes = self.now_bytes()

    def now_bytes(self) -> int:
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        """The most since the watching began, however short it lasted."""
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        lines = (self._directory / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
