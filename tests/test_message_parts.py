"""Media of every API as parts of the one shape, and values that came as Python's `repr`."""

from typing import Any

import pytest

from otlp_receiver.mapping.conversations import conversation
from otlp_receiver.mapping.json_text import parse_literal


@pytest.mark.parametrize(
    ("sent", "part"),
    [
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO", "detail": "low"}},
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVBO", "detail": "low"},
        ),
        (
            {"type": "input_image", "image_url": "https://example.com/cat.jpg"},
            {"type": "uri", "modality": "image", "uri": "https://example.com/cat.jpg"},
        ),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVBO"},
        ),
        (
            {"message_content": {"type": "image", "image": {"image": {"url": "data:image/png;base64,iVBO"}}}},
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVBO"},
        ),
        (
            {"type": "file", "mediaType": "image/*", "data": "https://example.com/cat.jpg"},
            {"type": "uri", "modality": "image", "mime_type": "image/*", "uri": "https://example.com/cat.jpg"},
        ),
        (
            {"type": "image", "image": {"type": "Buffer", "data": [137, 80]}, "mediaType": "image/png"},
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVA="},
        ),
        (
            {"inlineData": {"mimeType": "audio/mp3", "data": "SUQz"}},
            {"type": "blob", "modality": "audio", "mime_type": "audio/mp3", "content": "SUQz"},
        ),
        (
            {"file_data": {"mime_type": "application/pdf", "file_uri": "gs://bucket/a.pdf"}},
            {"type": "uri", "modality": "document", "mime_type": "application/pdf", "uri": "gs://bucket/a.pdf"},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "SUQz", "format": "mp3"}},
            {"type": "blob", "modality": "audio", "mime_type": "audio/mp3", "content": "SUQz"},
        ),
        (
            {"image": {"format": "png", "source": {"bytes": "iVBO"}}},
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVBO"},
        ),
        (
            {"type": "binary", "media_type": "image/png", "content": "iVBO"},
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVBO"},
        ),
        (
            {"type": "file", "file": {"file_id": "file-1", "filename": "a.pdf"}},
            {"type": "file", "modality": "document", "file_id": "file-1", "filename": "a.pdf"},
        ),
        (
            {"type": "image_url", "image_url": {"url": "@@@langfuseMedia:type=image/png|id=a3|source=bytes@@@"}},
            {
                "type": "blob",
                "modality": "image",
                "mime_type": "image/png",
                "content": "@@@langfuseMedia:type=image/png|id=a3|source=bytes@@@",
            },
        ),
        (
            {"type": "image", "image": {"type": "base64", "media_type": "image/png"}},
            {"type": "image", "image": {"type": "base64", "media_type": "image/png"}},
        ),
    ],
)
def test_media(sent: dict[str, Any], part: dict[str, Any]) -> None:
    """A picture, sound or file of any API is a blob, a URI or a file; one without its bytes stays as sent."""
    assert conversation([{"role": "user", "content": [sent]}], "input") == [{"role": "user", "parts": [part]}]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{'a': 1, 'b': [True, False, None], 'c': 1.5}", {"a": 1, "b": [True, False, None], "c": 1.5}),
        (
            """["it's", 'a "b"', 'line\\nbreak \\x41\\u00e9\\U0001f600 \\\\n']""",
            ["it's", 'a "b"', "line\nbreak Aé😀 \\n"],
        ),
        ("{'a': (1, 2)}", {"a": [1, 2]}),
        ("{'a': true}", None),
        ("{'a': datetime.now()}", None),
        ("{'a': 'cut", None),
        ("['\\ud800']", None),
        ("['\\U99999999']", None),
        ("[" * 5_000 + "]" * 5_000, None),
        ("'" + "\\" * 5_000, None),
    ],
)
def test_python_literals(text: str, value: Any) -> None:
    """What `repr` wrote is read, anything else refused."""
    assert parse_literal(text) == value
