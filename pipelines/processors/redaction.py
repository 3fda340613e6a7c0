r"""Masks what must not be stored: API keys, card numbers, e-mail addresses, wherever content may hold them.

Content is text that comes from the application's data. What the record is found and counted by (ids, names, models,
keys of maps) is left alone. Input and output may be JSON: expressions see it as it is written there (`\"`, `\n`).
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from config.models import RedactionSettings
from pipelines.batch import Batch, Kind
from pipelines.errors import Permanent

_CONTENT: Final[dict[Kind, tuple[str, ...]]] = {
    "observations": (
        "status_message",
        "model_parameters",
        "input",
        "output",
        "tool_definitions",
        "tool_calls",
        "metadata",
        "resource_attributes",
        "scope_attributes",
        "events",
        "links",
    ),
    "traces": ("metadata", "input", "output"),
    "scores": ("comment", "metadata"),
    "contents": (
        "model_parameters",
        "input",
        "output",
        "tool_definitions",
        "tool_calls",
        "metadata",
        "body",
        "resource_attributes",
        "scope_attributes",
    ),
}
_CONTENT_FIELDS: Final = frozenset({"arguments", "attributes", "value"})  # of structs within these columns

_Mask = Callable[[pa.Array], pa.Array]


def redaction(settings: RedactionSettings) -> Callable[[Batch], Batch]:
    """A processor that replaces every match of `blocked_values` in content.

    Raises:
        Permanent: the expressions are too much together, one matches the empty text, or the mask would break JSON.
    """
    if not settings.blocked_values:
        return lambda batch: batch
    together = "|".join(f"(?:{expression})" for expression in settings.blocked_values)
    for expression in (*settings.blocked_values, together):
        _check_expression(expression)
    _check_mask(settings.mask)
    return partial(_redacted, partial(pc.replace_substring_regex, pattern=together, replacement=settings.mask))


def _check_expression(expression: str) -> None:
    try:
        matches_nothing = pc.match_substring_regex(pa.scalar(""), expression).as_py()
    except pa.ArrowInvalid as error:
        raise Permanent(f"blocked_values: {expression[:200]!r} cannot be used: {error}") from error
    if matches_nothing:
        raise Permanent(f"blocked_values: {expression!r} matches the empty text, thus everywhere; make it match more")


def _check_mask(mask: str) -> None:
    # Within JSON such a mask would end the text around it; in a replacement a backslash would name a group.
    if json.dumps(mask, ensure_ascii=False) != f'"{mask}"':
        raise Permanent("mask: it must not contain quotes, backslashes or control characters")


def _redacted(mask: _Mask, batch: Batch) -> Batch:
    records = batch.records
    for name in _CONTENT[batch.kind]:
        index = records.schema.get_field_index(name)
        records = records.set_column(index, records.schema.field(index), _masked(mask, records.column(index)))
    return Batch(batch.kind, records, batch.received_at_ns)


def _masked(mask: _Mask, array: pa.Array) -> pa.Array:
    """The same array, its texts masked however deep they are."""
    if pa.types.is_string(array.type):
        return mask(array)
    if isinstance(array, pa.MapArray):
        offsets, (keys, items) = _children(array, array.keys, array.items)
        return pa.MapArray.from_arrays(offsets, keys, _masked(mask, items), type=array.type, mask=_gaps(array))
    if isinstance(array, pa.ListArray):
        offsets, (inner,) = _children(array, array.values)
        return pa.ListArray.from_arrays(offsets, _masked(mask, inner), type=array.type, mask=_gaps(array))
    fields = list(array.type)
    children = [array.field(index) for index in range(len(fields))]
    masked = [
        _masked(mask, child) if field.name in _CONTENT_FIELDS else child
        for field, child in zip(fields, children, strict=True)
    ]
    return pa.StructArray.from_arrays(masked, fields=fields, mask=_gaps(array))


def _children(array: "pa.ListArray | pa.MapArray", *children: pa.Array) -> tuple[pa.Array, list[pa.Array]]:
    """Offsets from 0 on, and the parts of the children that belong to this slice."""
    first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
    offsets = pc.subtract(array.offsets, pa.scalar(first, pa.int32()))
    return offsets, [child.slice(first, last - first) for child in children]


def _gaps(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None
