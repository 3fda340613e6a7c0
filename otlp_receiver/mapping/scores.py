"""Evaluation events → rows of `scores`."""

import hashlib
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.event_messages import event_attributes
from otlp_receiver.mapping.numbers import parse_number
from otlp_receiver.mapping.plan import Plan
from pipelines.schema import SCORES

_SCHEMA: Final = SCORES.arrow_schema
_NAME, _VALUE = "gen_ai.evaluation.name", "gen_ai.evaluation.score.value"
_LABEL, _COMMENT = "gen_ai.evaluation.score.label", "gen_ai.evaluation.explanation"


def score_rows(plan: Plan, table: SpanTable, observations: pa.RecordBatch) -> pa.RecordBatch | None:
    """One row per evaluation event, None when there is none (nearly always)."""
    names = table.events.column("name")
    if not len(names):
        return None
    wanted = pc.is_in(names, pa.array(sorted(plan.named("score_events")), pa.string())).to_numpy(zero_copy_only=False)
    if not wanted.any():
        return None
    spans = table.events.column("span").to_numpy()
    times = np.minimum(table.events.column("time_unix_nano").to_numpy(), 2**63 - 1)
    rows = [
        _row(observations.slice(int(spans[event]), 1), int(times[event]), values)
        for event, values in event_attributes(table, wanted).items()
    ]
    return pa.RecordBatch.from_pylist(rows, schema=_SCHEMA)


def _row(observation: pa.RecordBatch, time: int, values: dict[str, str]) -> dict[str, Any]:
    owner = {name: observation.column(name)[0].as_py() for name in ("project_id", "trace_id", "id")}
    number = parse_number(values.get(_VALUE, ""))
    identity = "\0".join([*owner.values(), str(time), values.get(_NAME, ""), values.get(_LABEL, "")])
    return {
        "project_id": owner["project_id"],
        "trace_id": owner["trace_id"],
        "observation_id": owner["id"],
        "id": hashlib.blake2b(identity.encode(), digest_size=16).hexdigest(),
        "timestamp": time or observation.column("start_time")[0].value,
        "name": values.get(_NAME, ""),
        "value": None if number is None else float(number),
        "label": values.get(_LABEL, ""),
        "comment": values.get(_COMMENT, ""),
        "metadata": [(key, text) for key, text in values.items() if not _shown(key, number)],
        "ingested_at": observation.column("ingested_at")[0].value,
    }


def _shown(key: str, number: object) -> bool:
    return key in (_NAME, _LABEL, _COMMENT) or (key == _VALUE and number is not None)
