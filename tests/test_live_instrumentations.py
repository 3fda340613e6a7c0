"""Released instrumentations, run here and now, into the running service: what the store shows is what was said."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.live.environment import installed, pinned, python
from tests.live.instrumentations import INSTRUMENTATIONS, Instrumentation
from tests.live.model_server import ModelServer, model_server
from tests.live.reading import seen
from tests.live.running import run
from tests.support.counters import growth, series
from tests.support.service import Service
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def interpreter(request: pytest.FixtureRequest) -> Path:
    """Of the applications; the first run on a machine installs it, visibly."""
    capturing: Any = request.config.pluginmanager.getplugin("capturemanager")
    with capturing.global_and_fixture_disabled():
        return python(sys.stdout)


@pytest.fixture(scope="module")
def models() -> Iterator[ModelServer]:
    """The provider of all applications."""
    with model_server() as started:
        yield started


@pytest.mark.parametrize("instrumentation", INSTRUMENTATIONS, ids=lambda each: each.script)
def test_what_was_said_is_what_the_store_shows(
    running: Service, models: ModelServer, interpreter: Path, instrumentation: Instrumentation
) -> None:
    """Models, messages, tool calls, tokens, cost, identity and errors, each call once; differences are declared."""
    with growth(running) as grown:
        name = run(instrumentation.script, interpreter, running, models)
    assert [counter for counter in grown if "refused" in counter] == []
    spans = grown[series("otelcol_receiver_accepted_spans", receiver="otlp", transport="http")]
    running.wait_for_rows(f"service_name = '{name}'", int(spans))  # so that a second report of a call is there to count

    with suppress(AssertionError):  # the comparison below says what differs
        wait_until(lambda: not _differences(running, models, instrumentation, name), 30)
    differences = _differences(running, models, instrumentation, name)
    assert not differences, "\n".join(differences)


def test_every_package_is_pinned(interpreter: Path) -> None:
    """A package that floats would fail these tests one day, for no change of ours."""
    assert installed(interpreter) - pinned() == set()


def test_every_application_is_run() -> None:
    """A script without an entry in the table would never be noticed."""
    scripts = Path(__file__).parent / "live" / "scripts"
    found = {script.stem for script in scripts.glob("*.py")} - {"__init__"}
    assert found == {each.script for each in INSTRUMENTATIONS}


def _differences(running: Service, models: ModelServer, instrumentation: Instrumentation, name: str) -> list[str]:
    """A line for each aspect that the store shows otherwise than it should."""
    expected = instrumentation.expected()
    shown = seen(running, name, instrumentation.scope, instrumentation.scenarios, models)
    return [
        f"{aspect}: {shown.get(aspect)!r} instead of {expected.get(aspect)!r}"
        for aspect in {**expected, **shown}
        if shown.get(aspect) != expected.get(aspect)
    ]
