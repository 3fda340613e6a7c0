"""What a convention file may say of sources that mean something on some spans only."""

from typing import Any

from config.conventions import Convention, load_conventions
from otlp_receiver.mapping.plan import Plan
from tests.support.arrow_rows import Row
from tests.support.mapping import map_export
from tests.support.otlp import export, span


def _row(says: dict[str, Any], attributes: dict[str, Any], *, scope: str = "acme.sdk", name: str = "span") -> Row:
    """The observation of a span, with one more convention."""
    acme = {"name": "acme", "title": "Acme", "precedence": 38, "recognise": {"scopes": ["acme.*"]}}
    plan = Plan((*load_conventions(), Convention.model_validate(acme | says)))
    (row,) = map_export(export(span(attributes, name=name), scope=scope), plan).observations
    return row


def test_a_first_source_comes_before_otels_own() -> None:
    """A dialect that knows better than what it puts under OTel's key says so; else OTel comes first."""
    sent = {"gen_ai.request.model": "group", "acme.model": "gpt-4o"}
    plain, first = ({"fields": {"request_model": [{"key": "acme.model", "first": each}]}} for each in (False, True))

    assert _row(plain, sent)["request_model"] == "group"
    assert _row(first, sent)["request_model"] == "gpt-4o"


def test_a_source_that_counts_where_two_attributes_are_equal() -> None:
    """`=x` compares with another attribute; a span without it is no match."""
    says = {"fields": {"agent_name": [{"key": "acme.agent", "when": {"acme.model": "=acme.group"}}]}}
    sent = {"acme.agent": "a", "acme.model": "m"}

    assert _row(says, sent | {"acme.group": "m"})["agent_name"] == "a"
    assert _row(says, sent | {"acme.group": "other"})["agent_name"] == ""
    assert _row(says, sent)["agent_name"] == ""


def test_a_source_that_counts_where_an_attribute_has_any_value() -> None:
    """`*` is any value but the empty one."""
    says = {"fields": {"user_id": [{"key": "uid", "when": {"acme.kind": "*"}}]}}

    assert _row(says, {"uid": "u", "acme.kind": "x"})["user_id"] == "u"
    assert _row(says, {"uid": "u", "acme.kind": ""})["user_id"] == ""


def test_an_ignored_value_fills_no_field_and_stays_in_metadata() -> None:
    """Only on spans of the dialect; another source may fill the field."""
    says = {"ignored": {"gen_ai.agent.name": "unnamed*"}}
    sent = {"gen_ai.agent.name": "unnamed-1"}

    row = _row(says, sent)
    assert (row["agent_name"], row["metadata"]) == ("", sent)
    assert _row(says, sent, scope="other")["agent_name"] == "unnamed-1"


def test_counting_by_the_model_asked_for() -> None:
    """A framework that calls several providers and names none counts as the model's provider does."""
    says = {"usage": {"input_without_cache": ["model:*anthropic.claude*"]}}
    sent = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.cache_read.input_tokens": 40}
    claude, gpt = (
        _row(says, sent | {"gen_ai.request.model": model}) for model in ("us.anthropic.claude-sonnet-4", "gpt-4o")
    )

    assert (claude["input_tokens"], gpt["input_tokens"]) == (140, 100)


def test_pythons_spelling_of_a_value_is_gone_into() -> None:
    """Places in a dict as Python prints it; what only looks like one stays as sent."""
    says = {"fields": {"session_id": [{"key": "acme.about", "path": "session.id"}]}}

    assert _row(says, {"acme.about": "{'session': {'id': 's-1', 'old': None}}"})["session_id"] == "s-1"
    assert _row(says, {"acme.about": "{'session': oh"})["session_id"] == ""


def test_a_spans_name_decides_before_an_attribute_of_the_same_dialect() -> None:
    """Names of spans are the more particular rule of a file."""
    says = {"types": {"acme.kind": {"step": "SPAN"}}, "span_types": {"*.search": "RETRIEVER"}}

    assert _row(says, {"acme.kind": "step"}, name="docs.search")["type"] == "RETRIEVER"
    assert _row(says, {"acme.kind": "step"}, name="docs.load")["type"] == "SPAN"
