"""Memory that a process need not have."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _LeftOut(MetaPathFinder):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self._names:
            raise ModuleNotFoundError("left out to save memory", name=fullname)
        return None


def leave_out(*names: str) -> None:
    """Let the imports of optional packages fail, as if they were not installed; to be called before they are tried."""
    sys.meta_path.insert(0, _LeftOut(names))
