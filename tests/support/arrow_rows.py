"""Arrow tables as plain rows: times as Unix nanoseconds, which Python's datetime would round, maps as dictionaries."""

from typing import Any

import pyarrow as pa

Row = dict[str, Any]


def table_rows(table: pa.Table | pa.RecordBatch) -> list[Row]:
    """The rows as dictionaries."""
    columns = [_plain_column(column) for column in table.columns]
    return [dict(zip(table.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def _plain_column(column: Any) -> list[Any]:
    kind = _without_times(column.type)
    values: list[Any] = column.cast(kind).to_pylist()
    if pa.types.is_map(kind):
        return [dict(value) for value in values]
    if pa.types.is_list(kind):
        return [[_plain_item(item) for item in value] for value in values]
    return values


def _plain_item(item: Any) -> Any:
    """Of an event or a link, the attributes as a dictionary."""
    if isinstance(item, dict) and "attributes" in item:
        return {**item, "attributes": dict(item["attributes"])}
    return item


def _without_times(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.int64()
    if pa.types.is_list(kind):
        return pa.list_(_without_times(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _without_times(field.type)) for field in kind])
    return kind
