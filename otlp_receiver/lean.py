"""Memory that a process need not have."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoPandas(MetaPathFinder):
    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("left out to save memory", name=fullname)
        return None


def leave_out_pandas() -> None:
    """Let `import pandas` fail: pyarrow imports it where it can, which costs 40 MB, and works without."""
    sys.meta_path.insert(0, _NoPandas())
