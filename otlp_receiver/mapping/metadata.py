"""What no column shows: the span's other attributes, and the entries that the application gave names of their own."""

import numpy as np
import pyarrow as pa

from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.arrow_arrays import Indices, attribute_map, text_map
from otlp_receiver.mapping.resolution import Candidates, Resolution


def metadata(table: SpanTable, resolution: Resolution) -> pa.MapArray:
    """The metadata of every span; to be called last, when every column has said what it shows."""
    found = resolution.candidates
    named = np.flatnonzero(np.isin(found.code, list(found.keys.entries))) if found.keys.entries else np.zeros(0, int)
    entries = named[named >= found.span_rows]
    resolution.show(entries)
    resolution.finish_shown()
    keep = ~resolution.shown[: found.span_rows]
    if not found.keys.entries and not resolution.beside and not found.opened:
        return attribute_map(table.span_attributes, table.spans.num_rows, keep)
    keep[list(resolution.beside)] = True
    rows = np.concatenate([np.flatnonzero(keep), entries])
    rows = rows[np.argsort(found.owner[rows], kind="stable")]
    return text_map(found.owner[rows], _names(found, rows), _values(resolution, rows), resolution.spans)


def _names(found: Candidates, rows: Indices) -> pa.StringArray:
    """Names in metadata; one that a span has twice is told by the whole key the second time."""
    names = [found.keys.entries.get(code, name) for code, name in enumerate(found.names)]
    used: set[tuple[int, str]] = set()
    result = []
    for owner, code in zip(found.owner[rows].tolist(), found.code[rows].tolist(), strict=True):
        name = names[code] if (owner, names[code]) not in used else found.names[code]
        used.add((owner, name))
        result.append(name)
    return pa.array(result, pa.string())


def _values(resolution: Resolution, rows: Indices) -> pa.StringArray:
    values = resolution.candidates.values.take(pa.array(rows))
    if not resolution.beside:
        return values
    texts = values.to_pylist()
    for place, row in enumerate(rows.tolist()):
        texts[place] = resolution.beside.get(row, texts[place])
    return pa.array(texts, pa.string())
