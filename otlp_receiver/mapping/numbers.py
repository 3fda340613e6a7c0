"""Numbers that came as text."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from otlp_receiver.mapping.arrow_arrays import Indices, has_text
from otlp_receiver.mapping.resolution import Resolution


def parse_number(text: str) -> Decimal | None:
    """A finite decimal number, None for anything else."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def given_numbers(resolution: Resolution, name: str, convert: Callable[[Decimal], Any]) -> list[Any]:
    """A rarely sent number per span, None where there is none or `convert` refuses it (it then stays in metadata)."""
    rows: Indices = resolution.rows(name)
    result: list[Any] = [None] * len(rows)
    if not (rows >= 0).any():
        return result
    texts = resolution.text(name)
    for span in np.flatnonzero(has_text(texts)).tolist():
        number = parse_number(texts[span].as_py())
        result[span] = None if number is None else convert(number)
        if result[span] is not None:
            resolution.show(rows[span : span + 1])
    return result
