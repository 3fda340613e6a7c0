"""An OTLP receiver for LLM observability. Ships as an application: an image, or a virtual environment of its own."""

from importlib.util import find_spec
from pathlib import Path

__version__ = "0.1.0"


def _refuse_foreign_siblings() -> None:
    """`config`, `exporters` and `pipelines` are common names: say so when another package has taken their place."""
    home = Path(__file__).resolve().parent.parent
    for name in ("config", "exporters", "pipelines"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found is None or found.parent.parent != home:
            raise ImportError(
                f"the package {name!r} beside otlp_receiver in {home} is hidden by {found or 'nothing'}: "
                "install otlp-receiver into a virtual environment of its own"
            )


_refuse_foreign_siblings()
