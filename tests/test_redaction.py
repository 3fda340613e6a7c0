"""Redaction: what must not be stored is masked wherever content may hold it, and nothing else changes."""

from typing import Any

import pyarrow as pa
import pytest

from config import models
from config.models import RedactionSettings
from pipelines.batch import Batch
from pipelines.errors import Permanent
from pipelines.processors import PROCESSORS, Processor, build_processor
from tests.support.records import START_NS, from_rows, observations, scores, traces

SECRET = "sk-" + "a1" * 12


def processor(*expressions: str, mask: str = "****") -> Processor:
    return build_processor("redaction/x", RedactionSettings(blocked_values=expressions, mask=mask))


def rows(batch: Batch) -> list[dict[str, Any]]:
    return list(batch.records.to_pylist())


def test_masks_content_in_every_column_that_may_hold_it() -> None:
    """Text, maps, events, links and tool calls; ids, names and keys stay."""
    batch = from_rows(
        "observations",
        [
            {
                "id": SECRET,
                "name": SECRET,
                "input": f'[{{"role":"user","parts":["my key is {SECRET}, keep it"]}}]',
                "output": SECRET,
                "status_message": f"bad key {SECRET}",
                "tool_definitions": SECRET,
                "tool_calls": [{"id": SECRET, "name": SECRET, "arguments": SECRET}],
                "model_parameters": [("stop", SECRET)],
                "metadata": [(SECRET, SECRET), ("plain", "text")],
                "resource_attributes": [("env", SECRET)],
                "scope_attributes": [("env", SECRET)],
                "events": [{"time": START_NS, "name": SECRET, "attributes": [("exception.message", SECRET)]}],
                "links": [{"trace_id": SECRET, "span_id": "", "trace_state": "", "attributes": [("a", SECRET)]}],
            }
        ],
    )

    (row,) = rows(processor("sk-[a-z0-9]{20,}")(batch))

    assert row["input"] == '[{"role":"user","parts":["my key is ****, keep it"]}]'
    assert (row["output"], row["status_message"], row["tool_definitions"]) == ("****", "bad key ****", "****")
    assert row["tool_calls"] == [{"id": SECRET, "name": SECRET, "arguments": "****"}]
    assert row["metadata"] == [(SECRET, "****"), ("plain", "text")]
    assert [row[name][0][1] for name in ("model_parameters", "resource_attributes", "scope_attributes")] == ["****"] * 3
    assert (row["events"][0]["name"], row["events"][0]["attributes"]) == (SECRET, [("exception.message", "****")])
    assert (row["links"][0]["trace_id"], row["links"][0]["attributes"]) == (SECRET, [("a", "****")])
    assert (row["id"], row["name"]) == (SECRET, SECRET)


def test_masks_contents() -> None:
    """Log records hold the same content as spans; what they are told by is left alone."""
    said = {"id": SECRET, "input": SECRET, "output": SECRET, "body": [(SECRET, SECRET)], "metadata": [("k", SECRET)]}
    (row,) = rows(processor("sk-[a-z0-9]{20,}")(from_rows("contents", [said])))

    assert (row["id"], row["input"], row["output"]) == (SECRET, "****", "****")
    assert (row["body"], row["metadata"]) == ([(SECRET, "****")], [("k", "****")])


def test_masks_traces_and_scores() -> None:
    """The same content must not come back by way of the trace or the judge's comment."""
    ranked = {"rank": 1, "time": START_NS, "span": "s", "value": f"see {SECRET}"}
    trace = from_rows("traces", [{"input": ranked, "output": ranked, "metadata": [("k", ranked)]}])
    score = from_rows("scores", [{"comment": SECRET, "metadata": [("k", SECRET)]}])
    mask = processor("sk-[a-z0-9]{20,}")

    (masked_trace,), (masked_score,) = rows(mask(trace)), rows(mask(score))

    assert [masked_trace[name]["value"] for name in ("input", "output")] == ["see ****"] * 2
    assert masked_trace["input"]["span"] == "s"
    assert masked_trace["metadata"][0][1]["value"] == "see ****"
    assert (masked_score["comment"], masked_score["metadata"]) == ("****", [("k", "****")])


@pytest.mark.parametrize("batch", [observations(20), traces(20), scores(20)])
@pytest.mark.parametrize("part", [slice(0, 20), slice(5, 14), slice(20, 20)])
def test_changes_nothing_else(batch: Batch, part: slice) -> None:
    """Whole batches, slices and empty ones come out as they went in, schema included."""
    piece = Batch(batch.kind, batch.records.slice(part.start, part.stop - part.start), 7)

    masked = processor("occurs nowhere")(piece)

    assert masked.records.schema == piece.records.schema
    assert rows(masked) == rows(piece)
    assert masked.received_at_ns == 7
    masked.records.validate(full=True)


def test_nulls_stay_nulls() -> None:
    """A column that an older version did not write is not made up."""
    batch = observations(3)
    for column in ("metadata", "events", "input", "tool_calls"):
        index = batch.records.schema.get_field_index(column)
        field = batch.records.schema.field(index)
        batch = Batch(batch.kind, batch.records.set_column(index, field, pa.nulls(3, field.type)), 1)

    assert rows(processor("occurs nowhere")(batch)) == rows(batch)


def test_several_expressions_and_another_mask() -> None:
    """Each is masked; flags of one do not leak into the next."""
    batch = from_rows("scores", [{"comment": "Alice ALICE bob BOB 4111-1111"}])

    (row,) = rows(processor("(?i)alice", "bob", r"\d{4}-\d{4}", mask="[masked]")(batch))

    assert row["comment"] == "[masked] [masked] [masked] BOB [masked]"


def test_without_expressions_batches_pass_untouched() -> None:
    """The default settings cost nothing."""
    batch = observations(1)

    assert processor()(batch) is batch


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocked_values": ["a*"]}, r"processors::redaction/pii::blocked_values: 'a\*' matches the empty text"),
        ({"blocked_values": [rf"{number}\pL{{400}}" for number in range(2)]}, "too large"),
        ({"blocked_values": ["a"], "mask": '"'}, "must not contain quotes"),
        ({"blocked_values": ["a"], "mask": "\\1"}, "must not contain quotes"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict[str, Any], message: str) -> None:
    """A mask everywhere, or one that breaks JSON, keeps the service from starting."""
    with pytest.raises(Permanent, match=message):
        build_processor("redaction/pii", RedactionSettings.model_validate(settings))


def test_every_configurable_processor_exists() -> None:
    """The table of settings and the table of processors name the same types."""
    assert set(PROCESSORS) == set(models.PROCESSORS)
