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
    owners, values = found.owner[rows], _values(resolution, rows)
    names = _names(found, owners, found.code[rows], values)
    kept = np.array(list(names), np.int64)
    return text_map(owners[kept], pa.array(names.values(), pa.string()), values.take(pa.array(kept)), resolution.spans)


def _names(found: Candidates, owners: Indices, codes: Indices, values: pa.StringArray) -> dict[int, str]:
    """Place → name; where a span has a name twice, another value has its whole key and an equal one is not repeated."""
    name_of = [found.keys.entries.get(code, name) for code, name in enumerate(found.names)]
    used: dict[tuple[int, str], int] = {}
    names = {}
    for place, (owner, code) in enumerate(zip(owners.tolist(), codes.tolist(), strict=True)):
        first = used.setdefault((owner, name_of[code]), place)
        if first == place:
            names[place] = name_of[code]
        elif not values[first].equals(values[place]):
            names[place] = found.names[code]
    return names


def _values(resolution: Resolution, rows: Indices) -> pa.StringArray:
    values = resolution.candidates.values.take(pa.array(rows))
    if not resolution.beside:
        return values
    texts = values.to_pylist()
    for place, row in enumerate(rows.tolist()):
        texts[place] = resolution.beside.get(row, texts[place])
    return pa.array(texts, pa.string())
