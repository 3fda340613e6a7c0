"""The recorded requests in tests/data/corpus."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from tests.support.otlp import Export
from tests.support.otlp_reading import from_json, from_protobuf

_FOLDER: Final = Path(__file__).parent.parent / "data" / "corpus"


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded export request.

    Attributes:
        file: below tests/data/corpus.
        signal: what it carries.
        transport: how it was sent.
        path: URL path that it was sent to; empty over gRPC.
        content_type: as sent; empty over gRPC.
        content_encoding: gzip, or empty.
        spans: number of spans in a traces request.
    """

    file: str
    signal: Literal["traces", "logs", "metrics"]
    transport: Literal["grpc", "http"]
    path: str = ""
    content_type: str = ""
    content_encoding: str = ""
    spans: int = 0

    def body(self) -> bytes:
        """The bytes on the wire."""
        return (_FOLDER / self.file).read_bytes()

    def decompressed(self) -> bytes:
        """The export request in its encoding."""
        return gzip.decompress(self.body()) if self.content_encoding == "gzip" else self.body()

    @property
    def encoding(self) -> Literal["protobuf", "json"]:
        """How the request is encoded."""
        return "json" if self.content_type == "application/json" else "protobuf"

    def export(self) -> Export:
        """What a traces request says, read independently of the code under test."""
        return from_json(self.decompressed()) if self.encoding == "json" else from_protobuf(self.decompressed())


def recordings() -> list[Recording]:
    """All of them, in the order of their files."""
    entries: list[dict[str, Any]] = json.loads((_FOLDER / "index.json").read_text("utf-8"))
    return [Recording(**entry) for entry in entries]
