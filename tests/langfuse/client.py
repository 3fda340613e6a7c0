"""Asks whether its key is good, then sends a trace of two observations; prints as JSON what came of it.

Address and key are in its environment, as `projects create` prints them.
"""

import json
import sys
from typing import Any

from langfuse import get_client

langfuse: Any = get_client()
try:
    is_good, status = langfuse.auth_check(), 200
except Exception as error:  # noqa: BLE001 - whatever the client says of a wrong key
    is_good, status = False, getattr(error, "status_code", 0)
usage = {"input": 12, "output": 3}
with (
    langfuse.start_as_current_observation(name="answer", input="what to wear", output="a coat"),
    langfuse.start_as_current_observation(
        as_type="generation", name="generation", model="gpt-5", input="rain?", output="yes", usage_details=usage
    ),
):
    trace_id = langfuse.get_current_trace_id()
langfuse.flush()
sys.stdout.write(json.dumps({"traceId": trace_id, "isGood": is_good, "status": status}) + "\n")
langfuse.shutdown()
