"""Which decoder is in use, and what is said about it."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from structlog.testing import capture_logs

from otlp_receiver.decode import decode, native
from pipelines.ingest import Accepted
from tests.support.otlp import export, span, to_protobuf
from tests.support.span_tables import request


@pytest.fixture(autouse=True)
def _fresh_choice() -> Iterator[None]:
    """The choice is made once a process; each test has one of its own."""
    native.kernel.cache_clear()
    yield
    native.kernel.cache_clear()


@pytest.fixture
def no_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that has no compiled decoder."""
    monkeypatch.setitem(sys.modules, "otlp_receiver_native", None)
    monkeypatch.delenv(native.VARIABLE, raising=False)


@pytest.mark.usefixtures("no_module")
def test_python_decodes_where_nothing_is_compiled() -> None:
    """Without the compiled decoder the Python one takes its place."""
    assert native.kernel() is None
    assert decode([request(to_protobuf(export(span())))])[1] == [Accepted(1)]


@pytest.mark.usefixtures("no_module")
def test_the_python_decoder_is_announced() -> None:
    """One line says that traces are decoded in Python, what that costs, and the cure."""
    with capture_logs() as lines:
        native.announce()
    (line,) = lines
    assert line["event"].startswith("Traces are decoded in Python")
    assert "make install" in line["cure"]


def test_a_module_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose arguments may be others is not called: the Python decoder takes its place, and the log says why."""
    monkeypatch.setitem(sys.modules, "otlp_receiver_native", ModuleType("otlp_receiver_native"))
    monkeypatch.delenv(native.VARIABLE, raising=False)

    assert native.kernel() is None
    with capture_logs() as lines:
        native.announce()
    assert "another version" in lines[0]["reason"]


def test_the_environment_chooses_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTLP_RECEIVER_DECODER=python leaves the compiled decoder alone."""
    monkeypatch.setenv(native.VARIABLE, "python")
    assert native.kernel() is None


@pytest.mark.usefixtures("no_module")
def test_a_native_decoder_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for the native decoder and has none is told so with the cure, not served by the other."""
    monkeypatch.setenv(native.VARIABLE, "native")
    with pytest.raises(ImportError, match=r"native decoder cannot be loaded .*make install"):
        native.announce()


def test_a_decoder_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt choice is refused, naming the variable and what it may be."""
    monkeypatch.setenv(native.VARIABLE, "rust")
    with pytest.raises(ValueError, match="OTLP_RECEIVER_DECODER=rust: there are python and native"):
        native.kernel()
