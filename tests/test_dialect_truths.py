"""The same call is the same record whatever instrumented it, held against what the model servers really answered."""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from ruamel.yaml import YAML

from tests.support.arrow_rows import Row
from tests.support.golden import mapped, sources

_FOLDER: Final = Path(__file__).parent / "truths"
_FILES: Final = {"js": "javascript.yaml", "python": "otel_family.yaml"}
_BUCKETS: Final = ("input", "input_cached_tokens", "input_cache_creation", "output", "output_reasoning_tokens")
_WHOLES: Final = {"input_cached_tokens": "input", "output_reasoning_tokens": "output"}
_CALLS: Final = ("GENERATION", "EMBEDDING")
_TRUTHS: Final = {
    language: YAML(typ="safe", pure=True).load((_FOLDER / name).read_text("utf-8")) for language, name in _FILES.items()
}


class Case(NamedTuple):
    """One recording of one scenario, and what is true of its model calls."""

    language: str
    source: str
    scenario: str
    recording: str
    calls: list[dict[str, Any]]
    unsaid: list[str]

    def __str__(self) -> str:
        return f"{self.language}/{self.source}/{self.recording}"


def _cases(language: str) -> list[Case]:
    """Every recording of a scenario that has a truth; in JavaScript one an encoding and transport."""
    found = []
    for source, entries in _TRUTHS[language]["sources"].items():
        for entry in entries:
            truths = _TRUTHS[language]["calls"][entry["server"]]
            for recording in sources()[f"{language}/{source}"]:
                scenario = recording.rpartition(".")[0] if language == "js" else recording
                name = scenario.removeprefix(entry.get("prefix", ""))
                if name in truths and scenario == entry.get("prefix", "") + name:
                    wrong = entry.get("wrong", {}).get(name, {})
                    calls = [call | wrong for call in truths[name]]
                    found.append(Case(language, source, scenario, recording, calls, entry.get("unsaid", [])))
    return found


_CASES: Final = [case for language in _FILES for case in _cases(language)]


def _model_calls(case: Case) -> list[Row]:
    """Calls with usage, in the order made; an SDK's own span of a call repeats an instrumentation's around it."""
    rows = mapped(sources()[f"{case.language}/{case.source}"][case.recording])
    calls = [row for row in rows if row["type"] in _CALLS and row["usage_details"]]
    return [row for row in calls if row["convention"] != "anthropic_sdk"] or calls


def _true_usage(call: dict[str, Any], unsaid: list[str]) -> dict[str, int]:
    usage = {name: call.get(name, 0) for name in _BUCKETS}
    for name in _WHOLES.keys() & {*unsaid}:
        usage[_WHOLES[name]] += usage[name]
        usage[name] = 0
    return usage


@pytest.mark.parametrize("case", _CASES, ids=str)
def test_tokens_are_those_that_the_server_counted(case: Case) -> None:
    """Every bucket is the server's count, the buckets are disjoint and sum to the total."""
    found = [row["usage_details"] for row in _model_calls(case)]

    assert [{name: usage.get(name, 0) for name in _BUCKETS} for usage in found] == [
        _true_usage(call, case.unsaid) for call in case.calls
    ]
    assert all(sum(usage.values()) == 2 * usage["total"] for usage in found)


@pytest.mark.parametrize("case", [case for case in _CASES if "answer" not in case.unsaid], ids=str)
def test_the_answer_is_what_the_server_said(case: Case) -> None:
    """The texts of the output are the server's answer, character by character."""
    answers = _TRUTHS[case.language]["answers"]
    assert [_answer(row) for row in _model_calls(case)] == [answers[call["answer"]] for call in case.calls]


def _answer(row: Row) -> str:
    """The texts of the messages; what the application set as a plain text (Langfuse) is the answer itself."""
    if row["type"] != "GENERATION":
        return ""
    if not row["output"].startswith("[{"):
        return str(row["output"])
    parts = [part for message in json.loads(row["output"]) for part in message["parts"] if part["type"] == "text"]
    return "".join(part["content"] for part in parts)


@pytest.mark.parametrize("language", _FILES)
def test_every_truth_is_recorded(language: str) -> None:
    """No server, and no scenario of it, is without a recording."""
    truths = _TRUTHS[language]
    servers = {entry["server"] for entries in truths["sources"].values() for entry in entries}
    recorded = {case.scenario for case in _CASES if case.language == language}

    assert servers == {*truths["calls"]}
    assert all(any(name in scenario for scenario in recorded) for found in truths["calls"].values() for name in found)
    assert len(recorded) > 20
