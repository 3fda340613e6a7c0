"""The type of every observation."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.arrow_arrays import has_text
from otlp_receiver.mapping.plan import NOTHING, Plan
from otlp_receiver.mapping.resolution import Resolution

_PLAIN: Final = "SPAN"


def observation_types(
    plan: Plan, table: SpanTable, resolution: Resolution, columns: dict[str, pa.Array]
) -> pa.StringArray:
    """The first rule that knows its attribute's value or the span's name; else a tool, a model call, a plain span."""
    types = np.full(resolution.spans, "", object)
    types[has_text(columns["model"])] = "GENERATION"
    types[has_text(columns["tool_name"]) | has_text(columns["tool_call_id"])] = "TOOL"
    found = resolution.candidates
    rules = found.keys.rule[found.code]
    rules[found.ignored] = NOTHING
    by_name = {rule: index for index, rule in plan.types.rule_of_scope.items() if found.members[:, index].any()}
    for rule in sorted(_present(rules) | by_name.keys(), reverse=True):
        if rule in by_name:
            _decide_by_names(plan, table, types, rule, np.flatnonzero(found.members[:, by_name[rule]]))
        else:
            _decide_by_values(plan, resolution, types, rule, np.flatnonzero(rules == rule))
    types[types == ""] = _PLAIN
    return pa.array(types, pa.string())


def _present(rules: npt.NDArray[Any]) -> set[int]:
    """The rules that occur; they are few numbers, so that marking beats sorting or a set of all."""
    marked = np.zeros(rules.max(initial=NOTHING) + 2, bool)
    marked[rules] = True
    marked[NOTHING] = False  # the last place
    return {*np.flatnonzero(marked).tolist()}


def _decide_by_values(plan: Plan, resolution: Resolution, types: Any, rule: int, rows: Any) -> None:
    found = resolution.candidates
    values = found.values.take(pa.array(rows)).dictionary_encode()
    kinds = [plan.types.type_by_value(rule, value) for value in values.dictionary.to_pylist()]
    named = np.array(kinds, object)[values.indices.to_numpy()]
    known = named != ""
    types[found.owner[rows[known]]] = named[known]


def _decide_by_names(plan: Plan, table: SpanTable, types: Any, rule: int, spans: Any) -> None:
    names = table.spans.column("name").take(pa.array(spans)).dictionary_encode()
    kinds = [plan.types.type_by_name(rule, name) for name in names.dictionary.to_pylist()]
    named = np.array(kinds, object)[names.indices.to_numpy()]
    known = named != ""
    types[spans[known]] = named[known]
