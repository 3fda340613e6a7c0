"""The best candidate for every field of every owner, picked by one `numpy.minimum.at`."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from otlp_receiver.mapping.arrow_arrays import Indices, Mask, has_text, text_bytes, text_ends
from otlp_receiver.mapping.keys import NOTHING, KeyArrays
from otlp_receiver.mapping.plan import COUNT_FIELDS, FIELDS

_NO_WINNER: Final = np.iinfo(np.int64).max
_RANK_SHIFT: Final = 32
_ROW_MASK: Final = (1 << _RANK_SHIFT) - 1
_ZERO_PENALTY: Final = 1 << 24
_IS_COUNT: Final = np.isin(np.arange(len(FIELDS)), list(COUNT_FIELDS))


@dataclass(frozen=True, slots=True)
class Winners:
    """The best candidate of every (owner, field), -1 for none: `winners[owner, field]`, by any index that numpy takes.

    Only fields that some owner has take up memory and time: of some seventy, a batch fills ten or twenty.

    Attributes:
        rows: (place, owner); the last place is that of all fields that nobody has.
        places: of each field.
        fields: those that some owner has, and the place of each.
    """

    rows: Indices
    places: Indices
    fields: dict[int, int]

    def __getitem__(self, owner_and_field: tuple[Any, Any]) -> Any:
        owner, field = owner_and_field
        return self.rows[self.places[field], owner]


def winners(
    owner: npt.NDArray[Any],
    code: npt.NDArray[Any],
    values: pa.StringArray,
    keys: KeyArrays,
    count: int,
    *,
    ignored: Indices | None = None,
) -> Winners:
    """The winners among the rows; ties go to the one sent first."""
    fields = keys.field[code]
    if ignored is not None:
        fields[ignored] = NOTHING
    rows = np.flatnonzero((fields >= 0) & has_text(values))
    fields = fields[rows]
    rank = keys.rank[code[rows]].astype(np.int64)
    rank += _ZERO_PENALTY * _is_zero_count(fields, values, rows)
    filled = _distinct(fields)
    places = np.full(len(FIELDS), len(filled))
    places[filled] = np.arange(len(filled))
    best = np.full((len(filled) + 1) * count, _NO_WINNER, np.int64)
    np.minimum.at(best, places[fields] * count + owner[rows], (rank << _RANK_SHIFT) | rows)
    none = best == _NO_WINNER
    best &= _ROW_MASK  # in place: a place for every field of every span is megabytes
    best[none] = NOTHING
    rows_by_place = best.reshape(len(filled) + 1, count)
    return Winners(rows_by_place, places, {field: place for place, field in enumerate(filled.tolist())})


def _distinct(fields: npt.NDArray[Any]) -> Indices:
    """The fields that occur; they are few numbers, so that marking beats sorting."""
    occurs = np.zeros(len(FIELDS), bool)
    occurs[fields] = True
    return np.flatnonzero(occurs)


def _is_zero_count(fields: npt.NDArray[Any], values: pa.StringArray, rows: Indices) -> Mask:
    """Of a zero and a value for the same count, the value wins (two spellings, one of them never filled in)."""
    zero: Mask = _IS_COUNT[fields]
    counts = rows[zero]
    ends, data = text_ends(values), text_bytes(values)
    zero[zero] = (ends[counts + 1] - ends[counts] == 1) & (data[ends[counts]] == ord("0"))
    return zero
