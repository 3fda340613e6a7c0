"""The merge of partial trace rows, written from the aggregates that `pipelines.schema` declares."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

from pipelines.schema import RANKED, TRACES

Row = dict[str, Any]


def _smallest_ranked(values: list[Any]) -> tuple[Any, ...]:
    """ClickHouse's min over Tuple(rank, time, span, value): member by member, text by its bytes."""
    return min((value["rank"], value["time"], value["span"], value["value"].encode()) for value in values)


def _union(values: list[Any]) -> frozenset[Any]:
    """groupUniqArrayArray, without its order."""
    return frozenset(tuple(item.items()) if isinstance(item, dict) else item for value in values for item in value)


def _smallest_of_keys(values: list[Any]) -> dict[str, tuple[Any, ...]]:
    """minMap, key by key."""
    keys = {key for value in values for key in value}
    return {key: _smallest_ranked([value[key] for value in values if key in value]) for key in keys}


_AGGREGATES: Final[dict[str, Callable[[list[Any]], Any]]] = {
    "SimpleAggregateFunction(min, Tuple": _smallest_ranked,
    "SimpleAggregateFunction(min, ": min,
    "SimpleAggregateFunction(max, ": max,
    "SimpleAggregateFunction(groupUniqArrayArray, ": _union,
    "SimpleAggregateFunction(minMap, ": _smallest_of_keys,
}


def merged(partial_rows: Iterable[Row]) -> dict[tuple[Any, ...], Row]:
    """Whole traces by sorting key."""
    groups: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in partial_rows:
        groups[tuple(row[name] for name in TRACES.order_by)].append(row)
    return {key: _merge(rows) for key, rows in groups.items()}


def _merge(rows: list[Row]) -> Row:
    return {
        column.name: _aggregate(column.clickhouse)([row[column.name] for row in rows])
        for column in TRACES.columns
        if column.name not in TRACES.order_by
    }


def _aggregate(clickhouse_type: str) -> Callable[[list[Any]], Any]:
    return next(function for start, function in _AGGREGATES.items() if clickhouse_type.startswith(start))


def value(trace: Row, name: str) -> str:
    """The value of a merged ranked column."""
    assert TRACES.arrow_schema.field(name).type == RANKED
    text: bytes = trace[name][-1]
    return text.decode()
