"""A smallest configuration, and what loading of a text says."""

from pathlib import Path
from typing import Final

import pytest

from config import Config, ConfigErrors
from config.loader import load

MINIMAL: Final = """\
receivers:
  otlp: {protocols: {grpc:, http:}}
buffers:
  local:
exporters:
  debug:
service:
  pipelines:
    traces: {receivers: [otlp], buffer: local, exporters: [debug]}
"""


def loaded(directory: Path, text: str, *overrides: str) -> Config:
    """The configuration that *text* is, from a file in *directory*."""
    path = directory / "my.yaml"
    path.write_text(text, "utf-8")
    return load([path], overrides)


def told(directory: Path, text: str, *overrides: str) -> list[str]:
    """The lines that loading *text* fails with; the file is called my.yaml in them."""
    path = directory / "my.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigErrors) as caught:
        load([path], overrides)
    return str(caught.value).replace(str(path), "my.yaml").splitlines()
