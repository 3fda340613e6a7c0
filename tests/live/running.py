"""Runs one application against the model server, exporting to the service; all it knows is in its environment."""

import os
import subprocess
import uuid
from pathlib import Path
from typing import Final

from tests.live.model_server import ModelServer
from tests.support.service import Service

_ROOT: Final = Path(__file__).parent.parent.parent
_SECONDS: Final = 120


def run(script: str, python: Path, service: Service, models: ModelServer) -> str:
    """Run `tests/live/scripts/<script>.py` to its end; gives the service.name that its spans bear."""
    name = f"{script}-{uuid.uuid4().hex}"
    command = [str(python), "-m", f"tests.live.scripts.{script}"]
    ended = subprocess.run(
        command,
        cwd=_ROOT,
        env=_environment(name, service.url("http"), models.url),
        capture_output=True,
        encoding="utf-8",
        timeout=_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, f"{script} failed:\n{ended.stderr}"
    return name


def _environment(name: str, receiver: str, provider: str) -> dict[str, str]:
    """Nothing of the caller's own: a proxy or a key set there is not for these."""
    return {
        "PATH": os.environ["PATH"],
        "OTEL_SERVICE_NAME": name,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver,
        "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "event_only",
        "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT": "true",
        "LANGFUSE_HOST": receiver,
        "LANGFUSE_PUBLIC_KEY": "pk-lf-live",
        "LANGFUSE_SECRET_KEY": "sk-lf-live",
        "OPENAI_BASE_URL": f"{provider}/v1",
        "OPENAI_API_KEY": "none",
        "ANTHROPIC_BASE_URL": provider,
        "ANTHROPIC_API_KEY": "none",
    }
