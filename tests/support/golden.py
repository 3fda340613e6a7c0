"""What the recordings must map to: tests/golden/<language>/<source>.yaml, one section a scenario.

`python -m tests.support.golden js/vercel-ai-6 ...` writes the files of some sources anew, for a look at the difference.
A file is compact, so that a person can hold it against what the model server really answered: columns without a value
are left out, long texts are cut, ids are numbered in the order of the trace.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from config.conventions import load_conventions
from otlp_receiver.decode import decode
from otlp_receiver.mapping import map_spans
from otlp_receiver.mapping.plan import Plan
from pipelines.ingest import Request
from tests.support.arrow_rows import Row, table_rows
from tests.support.corpus import Recording, recordings

FOLDER: Final = Path(__file__).parent.parent / "golden"
_CUT: Final = 72
_COLUMNS: Final = (
    "level", "status_message", "convention", "operation", "provider", "request_model", "model", "response_id",
    "finish_reasons", "environment", "release", "version", "user_id", "session_id", "trace_name", "tags", "tool_name",
    "tool_call_id", "agent_name", "prompt_name", "prompt_version", "model_parameters", "usage_details", "input_tokens",
    "output_tokens", "total_tokens", "cost_details",
)  # fmt: skip


def sources() -> dict[str, dict[str, list[Recording]]]:
    """Recorded trace requests by source (`js/vercel-ai-6`) and scenario, in the order in which they were sent."""
    found: dict[str, dict[str, list[Recording]]] = {}
    for recording in recordings():
        if recording.signal == "traces":
            language, source, scenario = recording.file.split("/")[:3]
            found.setdefault(f"{language}/{source}", {}).setdefault(scenario, []).append(recording)
    return found


@cache
def _plan() -> Plan:
    return Plan(load_conventions())


def mapped(scenario: Iterable[Recording]) -> list[Row]:
    """The observations of a scenario's requests, mapped together, by start time."""
    requests = [Request(each.decompressed(), each.encoding, "default", 1) for each in scenario]
    table, _ = decode(requests)
    batches = [batch for batch in map_spans(_plan(), table, requests) if batch.kind == "observations"]
    rows = [row for batch in batches for row in table_rows(batch.records)]
    return sorted(rows, key=lambda row: (row["start_time"], -row["end_time"], row["name"]))


def golden(source: str) -> dict[str, Any]:
    """What a source's file should say, from what the mapping makes of it now."""
    return {name: list(_observations(mapped(found))) for name, found in sorted(sources()[source].items())}


def _observations(rows: list[Row]) -> Iterator[dict[str, Any]]:
    number = {row["id"]: index for index, row in enumerate(rows, 1)}
    traces = {trace: index for index, trace in enumerate(dict.fromkeys(row["trace_id"] for row in rows), 1)}
    for row in rows:
        parent = row["parent_observation_id"]
        yield {
            "observation": f"{number[row['id']]} {row['type']} {row['name']}"[:_CUT],
            "parent": number.get(parent, "missing") if parent else "none",
            **({"trace": traces[row["trace_id"]]} if len(traces) > 1 else {}),
            **{name: _plain(row[name]) for name in _COLUMNS if row[name] not in ("", None, [], {}, "DEFAULT")},
            **_first_token(row),
            **{side: text for side in ("input", "output") if (text := _content(row[side]))},
            **({"tool_calls": [_call(call) for call in row["tool_calls"]]} if row["tool_calls"] else {}),
            **({"tools": tools} if (tools := _tools(row["tool_definitions"])) else {}),
            **({"left": sorted(row["metadata"])} if row["metadata"] else {}),
        }


def _first_token(row: Row) -> dict[str, str]:
    first = row["completion_start_time"]
    return {} if first is None else {"first_token_seconds": f"{(first - row['start_time']) / 10**9:.3f}"}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in sorted(value.items())}
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, int) else str(value)


def _cut(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _CUT else f"{text[:_CUT]}… ({len(text)})"


def _content(text: str) -> Any:
    """Messages as one line a part, anything else as it is, cut."""
    try:
        messages = json.loads(text)
        return [f"{message['role']}: {_part(part)}" for message in messages for part in message["parts"]]
    except (ValueError, TypeError, KeyError):
        return _cut(text)


def _part(part: dict[str, Any]) -> str:
    shown = {key: value for key, value in part.items() if key != "type"}
    only = shown.get("content") if list(shown) == ["content"] else None
    return _cut(f"{part['type']} {only if isinstance(only, str) else json.dumps(shown, ensure_ascii=False)}")


def _call(call: dict[str, str]) -> str:
    return f"{call['id']} {call['name']} {call['arguments']}"


def _tools(text: str) -> Any:
    try:
        return [tool["name"] for tool in json.loads(text)]
    except (ValueError, TypeError, KeyError):
        return _cut(text)


def write(source: str) -> None:
    """Write a source's file from what the mapping makes of it now; to be read before it is believed."""
    path = FOLDER / f"{source}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    yaml = YAML()
    yaml.width = 160
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(golden(source), file)


def read(source: str) -> Any:
    """What a source's file says."""
    return YAML(typ="safe", pure=True).load((FOLDER / f"{source}.yaml").read_text("utf-8"))


if __name__ == "__main__":
    for name in sys.argv[1:] or sources():
        write(name)
