"""The views that count each model call once, over the tables of `exporters.clickhouse_calls`."""

from typing import Final

from exporters.clickhouse_calls import (
    AMOUNTS,
    CALL_PARENTS,
    CALLS,
    HAS_CHILDREN,
    IS_CALL,
    NOTHING,
    PRICED,
    SILENT,
    USAGE,
)

_MERGED: Final = "SETTINGS do_not_merge_across_partitions_select_final = 1"
_BOTH: Final = IS_CALL | HAS_CHILDREN
_TWICE_USAGE: Final = "measured AND hasAny(left_by_children, [of_model, of_other])"
_TWICE_CALL: Final = f"(twice_usage OR NOT measured OR has(left_by_children, {SILENT}))"
# What reports the same response meets in `call_rows` already.
_ONE_RESPONSE: Final = f"(of_response != {NOTHING} AND has(left_by_children, of_response))"


def model_calls(database: str) -> str:
    """Body of the view `model_calls`: what is summed, rows of sign 1 less rows of sign -1.

    Of a parent and its children that report one call the children count: they stand nearer to the wire.
    """
    columns = f"project_id, trace_id, usage_key, sign, {', '.join(AMOUNTS)}"
    counted, twice = _counted(database), _twice(database)
    return f"SELECT {columns} FROM (\n{counted}\n)\nUNION ALL\nSELECT {columns} FROM (\n{twice}\n)"  # noqa: S608 - our own names


def _counted(database: str, among: str = "WHERE usage_key != ''\n") -> str:
    """Calls where they are at home; with another `among` also where they are not, without a key."""
    return (
        f"SELECT project_id, trace_id, usage_key, toInt8(1) AS sign, {', '.join(AMOUNTS)}\n"
        f"FROM {database}.{CALLS.name} FINAL\n{among}{_MERGED}"
    )


def _twice(database: str, among: str = "") -> str:
    """Calls that a child of theirs reports too; `among` narrows the search before rows are merged."""
    known = {"total_cost": f"twice_usage AND has(left_by_children, {PRICED})"}
    amounts = ", ".join(f"if({known.get(name, 'twice_usage')}, own_{name}, NULL) AS {name}" for name in AMOUNTS)
    return (
        f"SELECT\n    project_id, trace_id, day, toInt8(-1) AS sign,\n    {_TWICE_USAGE} AS twice_usage,\n"
        f"    if(measured AND NOT twice_usage, silent_child_key, own_key) AS usage_key,\n    {amounts}\n"
        f"FROM {database}.{CALL_PARENTS.name} FINAL\n{among}"
        f"WHERE roles = {_BOTH} AND NOT {_ONE_RESPONSE} AND {_TWICE_CALL}\n{_MERGED}"
    )


def _both(database: str) -> str:
    """The condition that a day has spans that are both a call and the parent of one: one byte a row tells.

    Most days have none, and their rows of 80 bytes are not read.
    """
    days = f"SELECT DISTINCT day FROM {database}.{CALL_PARENTS.name} FINAL WHERE roles = {_BOTH} {_MERGED}"  # noqa: S608 - our own names
    return f"PREWHERE day IN ({days})\n"


def _net(amount: str) -> str:
    """The sum of what counts less what was counted twice; NULL when nothing is known."""
    counted, twice = f"sumIf(row.{amount}, row.sign > 0)", f"ifNull(sumIf(row.{amount}, row.sign < 0), 0)"
    return f"if({counted} > {twice}, {counted} - {twice}, {counted} - {counted})"


_SUMS: Final = {"model_call_count": "toUInt64(greatest(sum(row.calls), 0))", **{name: _net(name) for name in AMOUNTS}}

TRACE_TOTALS: Final[dict[str, str]] = {
    "project_id": "project_id",
    "trace_id": "trace_id",
    "start_time": "minIf(row.start_time, row.is_span)",
    "end_time": "maxIf(row.end_time, row.is_span)",
    "latency_seconds": "(toUnixTimestamp64Nano(end_time) - toUnixTimestamp64Nano(start_time)) / 1e9",
    "observation_count": "countIf(row.is_span)",
    "model_call_count": _SUMS["model_call_count"],
    "error_count": "countIf(row.level = 'ERROR')",
    **{name: _SUMS[name] for name in AMOUNTS},
}
"""Columns of the view `trace_totals`; tokens and cost count once, on model calls only, and are NULL when unknown."""

MODEL_USAGE: Final[dict[str, str]] = {**USAGE, "project_id": "project_id", "day": "day", **_SUMS}
"""Columns of the view `model_usage`: a row per project, day (UTC), provider and model, over model calls only."""


def trace_totals(database: str) -> str:
    """Body of the view `trace_totals`."""
    amounts, time = ", ".join(AMOUNTS), "toDateTime64(0, 9, 'UTC')"
    nothing = ", ".join(f"NULL AS {name}" for name in AMOUNTS)
    spans = (
        "SELECT project_id, trace_id, start_time, end_time, level, true AS is_span, toInt8(0) AS sign, "
        f"toInt8(0) AS calls, {nothing}\nFROM {database}.observations"
    )
    calls = (
        f"SELECT project_id, trace_id, {time}, {time}, '', false, sign, sign, {amounts}\nFROM {database}.model_calls"
    )
    return (
        f"SELECT\n    {_listed(TRACE_TOTALS)}\nFROM (\n{spans}\nUNION ALL\n{calls}\n) AS row\n"
        "GROUP BY project_id, trace_id\nHAVING observation_count > 0"
    )


def model_usage(database: str) -> str:
    """Body of the view `model_usage`.

    Both sides are summed before they meet, what counts by its one key of few values; each is told project and day in
    the way that its own index knows. Rows without a key are left out when they have been summed: a condition on the
    rows costs 3 ns of processor time for each, and `HAVING` on the key alone would become one.
    """
    sums = ", ".join(f"sum(call.{name}) AS {name}" for name in AMOUNTS)
    counted = (
        f"SELECT {USAGE['project_id']} AS project_id, {USAGE['day']} AS day, usage_key, 1 AS sign, "
        f"toInt64(count()) AS calls, {sums}\nFROM (\n{_counted(database, among='')}\n) AS call\nGROUP BY usage_key"
    )
    twice = (
        f"SELECT project_id, day, usage_key, -1, -toInt64(count()), {sums}\n"
        f"FROM (\n{_twice(database, _both(database))}\n) AS call\nGROUP BY project_id, day, usage_key"
    )
    return (
        f"SELECT\n    {_listed(MODEL_USAGE)}\nFROM (\n{counted}\nUNION ALL\n{twice}\n) AS row\n"
        "GROUP BY project_id, day, usage_key\nHAVING sum(usage_key != '') > 0"
    )


def _listed(columns: dict[str, str]) -> str:
    return ",\n    ".join(f"{expression} AS {name}" for name, expression in columns.items())
