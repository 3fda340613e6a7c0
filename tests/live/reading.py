"""What the store shows of one application, in the form of `tests.live.truth`."""

import json
from typing import Any, Final

from tests.live import conversation as said
from tests.live.model_server import ModelServer
from tests.live.truth import Facts, dollars, plain
from tests.support.arrow_rows import Row
from tests.support.service import Service

_CALLS: Final = ("GENERATION", "EMBEDDING")
_PLAIN: Final = ("type", "provider", "request_model", "model", "level")


def seen(service: Service, name: str, scope: str, scenarios: tuple[str, ...], models: ModelServer) -> Facts:
    """By `scenario.aspect`; of calls that several scopes report, what `scope` says of them."""
    rows = service.sql(f"SELECT * FROM observations WHERE service_name = '{name}' ORDER BY start_time")
    mine = f"SELECT trace_id FROM observations WHERE service_name = '{name}'"
    traces = service.sql(f"SELECT id, name, user_id, session_id FROM traces WHERE id IN ({mine})")
    totals = service.sql(f"SELECT * FROM trace_totals WHERE trace_id IN ({mine})")
    found: Facts = {}
    for scenario in scenarios:
        trace = next((trace for trace in traces if trace["name"] == scenario), {"id": None})
        inside = [row for row in rows if row["trace_id"] == trace["id"]]
        total = next((total for total in totals if total["trace_id"] == trace["id"]), {})
        calls = [row for row in inside if row["type"] in _CALLS and row["scope_name"] == scope]
        aspects = {**_calls(calls, scenario, models), **_trace(trace, total), "tools_run": _tools_run(inside)}
        found |= {f"{scenario}.{aspect}": plain(value) for aspect, value in aspects.items()}
    return found


def _calls(rows: list[Row], scenario: str, models: ModelServer) -> Facts:
    """Aspects that the scenario has, an item per call."""
    found: Facts = {aspect: [row[aspect] or None for row in rows] for aspect in _PLAIN}
    found["response_id"] = [_response_id(row["response_id"], models) for row in rows]
    found["usage"] = [{bucket: count for bucket, count in row["usage_details"].items() if count} for row in rows]
    found["status_message"] = [_failure(row["status_message"]) for row in rows]
    if scenario == "embeddings":
        return {**found, "input": [_embedded(row["input"]) for row in rows]}
    found |= {half: [_messages(row[half]) for row in rows] for half in ("input", "output")}
    if scenario == "tools":
        found["tool_definitions"] = [_tool_names(row["tool_definitions"]) for row in rows]
    if scenario != "error":
        found["tool_calls"] = [_tool_calls(row["tool_calls"]) or None for row in rows]
    return found


def _trace(trace: Row, total: Row) -> Facts:
    cost = total.get("total_cost")
    return {
        "calls": total.get("model_call_count"),
        "errors": total.get("error_count"),
        "input_tokens": total.get("input_tokens"),
        "output_tokens": total.get("output_tokens"),
        "cost": None if cost is None else dollars(cost),
        "user": trace.get("user_id"),
        "session": trace.get("session_id"),
    }


def _tools_run(rows: list[Row]) -> list[Facts]:
    return [
        {
            "name": row["tool_name"],
            "id": row["tool_call_id"],
            "arguments": _parsed(row["input"]),
            "result": row["output"],
        }
        for row in rows
        if row["type"] == "TOOL"
    ]


# --- one value ---


def _response_id(sent: str, models: ModelServer) -> str:
    return "as answered" if sent in models.answered else sent


def _failure(message: str) -> str:
    """The provider's words are enough, whatever a client wraps around them."""
    return said.FAILURE if said.FAILURE in message else message


def _embedded(text: str) -> str:
    """The text that was embedded, alone or inside whatever JSON holds it."""
    return said.QUESTION if said.QUESTION in json.dumps(_parsed(text), ensure_ascii=False) else text


def _messages(text: str) -> Any:
    """Roles and parts; reasons of finishing are left out."""
    found = _parsed(text)
    if not isinstance(found, list):
        return found
    return [{"role": message.get("role"), "parts": [_part(part) for part in message["parts"]]} for message in found]


def _part(part: Facts) -> Facts:
    """Some repeat the tool's name beside its result."""
    if part["type"] != "tool_call_response":
        return part
    return {key: value for key, value in part.items() if key != "name"}


def _tool_names(text: str) -> list[Any]:
    return [tool.get("name") for tool in _parsed(text) or []]


def _tool_calls(calls: list[dict[str, str]]) -> list[Facts]:
    return [{**call, "arguments": _parsed(call["arguments"])} for call in calls]


def _parsed(text: str) -> Any:
    """JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
