"""Records as JSON lines: one object a row, keys in the order of the table's columns after `kind`.

Values are those of `pipelines.json_records`. ClickHouse reads the lines as JSONEachRow.
"""

import orjson

from pipelines.batch import Batch
from pipelines.json_records import json_records


def json_lines(batch: Batch) -> list[bytes]:
    """One line per row, each with its newline.

    Raises:
        Permanent: a text is not UTF-8.
    """
    return [
        orjson.dumps({"kind": batch.kind, **record}, option=orjson.OPT_APPEND_NEWLINE)
        for record in json_records(batch.records)
    ]
