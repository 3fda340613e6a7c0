"""The type of every observation."""

from dataclasses import dataclass
from typing import Any, Final, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from config.conventions import ObservationType
from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.arrow_arrays import Mask, has_text
from otlp_receiver.mapping.keys import NOTHING
from otlp_receiver.mapping.plan import Plan
from otlp_receiver.mapping.resolution import Resolution

_NAMES: Final = get_args(ObservationType)
_TEXTS: Final = pa.array(_NAMES)
_CODES: Final = {name: code for code, name in enumerate(_NAMES)}


@dataclass(frozen=True, slots=True)
class Types:
    """The type of each span, as a number."""

    codes: npt.NDArray[np.int8]

    def are(self, name: ObservationType) -> Mask:
        """Which spans are of a type."""
        found: Mask = self.codes == _CODES[name]
        return found

    def texts(self) -> pa.StringArray:
        """The types' names."""
        return _TEXTS.take(pa.array(self.codes))


def observation_types(plan: Plan, table: SpanTable, resolution: Resolution, columns: dict[str, pa.Array]) -> Types:
    """The first rule that knows its attribute's value or the span's name; else a tool, a model call, a plain span."""
    codes = np.full(resolution.spans, _CODES["SPAN"], np.int8)
    codes[has_text(columns["model"])] = _CODES["GENERATION"]
    codes[has_text(columns["tool_name"]) | has_text(columns["tool_call_id"])] = _CODES["TOOL"]
    found = resolution.candidates
    rules = found.keys.rule[found.code]
    rules[found.ignored] = NOTHING
    by_name = {rule: index for index, rule in plan.types.rule_of_scope.items() if index in found.present}
    for rule in sorted(_present(rules) | by_name.keys(), reverse=True):
        if rule in by_name:
            _decide_by_names(plan, table, codes, rule, np.flatnonzero(found.members[:, by_name[rule]]))
        else:
            _decide_by_values(plan, resolution, codes, rule, np.flatnonzero(rules == rule))
    return Types(codes)


def _present(rules: npt.NDArray[Any]) -> set[int]:
    """The rules that occur; they are few numbers, so that marking beats sorting or a set of all."""
    marked = np.zeros(rules.max(initial=NOTHING) + 2, bool)
    marked[rules] = True
    marked[NOTHING] = False  # the last place
    return {*np.flatnonzero(marked).tolist()}


def _decide_by_values(plan: Plan, resolution: Resolution, codes: npt.NDArray[np.int8], rule: int, rows: Any) -> None:
    found = resolution.candidates
    values = found.values.take(pa.array(rows)).dictionary_encode()
    _decide(codes, found.owner[rows], [plan.types.type_by_value(rule, text) for text in _distinct(values)], values)


def _decide_by_names(plan: Plan, table: SpanTable, codes: npt.NDArray[np.int8], rule: int, spans: Any) -> None:
    names = table.spans.column("name").take(pa.array(spans)).dictionary_encode()
    _decide(codes, spans, [plan.types.type_by_name(rule, text) for text in _distinct(names)], names)


def _distinct(texts: pa.DictionaryArray) -> list[str]:
    found: list[str] = texts.dictionary.to_pylist()
    return found


def _decide(codes: npt.NDArray[np.int8], spans: Any, types: list[str], texts: pa.DictionaryArray) -> None:
    """Set the types of the spans that have such a text; an empty type decides nothing."""
    of_text = np.array([_CODES.get(name, NOTHING) for name in types], np.int8)
    decided = of_text[texts.indices.to_numpy()]
    known = decided != NOTHING
    codes[spans[known]] = decided[known]
