"""The same call is the same record whatever instrumented it, held against what the model servers really answered."""

import json
from typing import Final

import pytest

from tests.support.arrow_rows import Row
from tests.support.golden import mapped, sources
from tests.support.truths import BUCKETS, CASES, TRUTHS, Case

_CALLS: Final = ("GENERATION", "EMBEDDING")


def _model_calls(case: Case) -> list[Row]:
    """Calls with usage, in the order made; an SDK's own span of a call repeats an instrumentation's around it."""
    rows = mapped(sources()[f"{case.language}/{case.source}"][case.recording])
    calls = [row for row in rows if row["type"] in _CALLS and row["usage_details"]]
    return [row for row in calls if row["convention"] != "anthropic_sdk"] or calls


@pytest.mark.parametrize("case", CASES, ids=str)
def test_tokens_are_those_that_the_server_counted(case: Case) -> None:
    """Every bucket is the server's count, the buckets are disjoint and sum to the total."""
    found = [row["usage_details"] for row in _model_calls(case)]

    assert [{name: usage.get(name, 0) for name in BUCKETS} for usage in found] == case.usages()
    assert all(sum(usage.values()) == 2 * usage["total"] for usage in found)


@pytest.mark.parametrize("case", [case for case in CASES if "answer" not in case.unsaid], ids=str)
def test_the_answer_is_what_the_server_said(case: Case) -> None:
    """The texts of the output are the server's answer, character by character."""
    answers = TRUTHS[case.language]["answers"]
    assert [_answer(row) for row in _model_calls(case)] == [answers[call["answer"]] for call in case.calls]


def _answer(row: Row) -> str:
    """The texts of the messages; what the application set as a plain text (Langfuse) is the answer itself."""
    if row["type"] != "GENERATION":
        return ""
    if not row["output"].startswith("[{"):
        return str(row["output"])
    parts = [part for message in json.loads(row["output"]) for part in message["parts"] if part["type"] == "text"]
    return "".join(part["content"] for part in parts)


@pytest.mark.parametrize("language", TRUTHS)
def test_every_truth_is_recorded(language: str) -> None:
    """No server, and no scenario of it, is without a recording."""
    truths = TRUTHS[language]
    servers = {entry["server"] for entries in truths["sources"].values() for entry in entries}
    recorded = {case.scenario for case in CASES if case.language == language}

    assert servers == {*truths["calls"]}
    assert all(any(name in scenario for scenario in recorded) for found in truths["calls"].values() for name in found)
    assert len(recorded) > 20
