"""Pictures, sounds and files in a message, whichever API spelled them → `blob`, `uri` and `file` parts.

`{"type": "blob", "modality", "mime_type", "content": base64}`, `{"type": "uri", "modality", "mime_type", "uri"}`,
`{"type": "file", "modality", "file_id"}` (GenAI semantic conventions).
"""

import base64
import re
from typing import Any, Final

Part = dict[str, Any]

# Kind of a media part → its modality where the MIME type does not say it.
MEDIA_KINDS: Final = {
    "image_url": "image",  # OpenAI
    "input_image": "image",  # OpenAI Responses
    "image": "image",  # Anthropic, AI SDK, OpenInference, LlamaIndex
    "image-url": "image",  # Pydantic AI
    "document": "document",  # Anthropic
    "document-url": "document",
    "file": "document",  # AI SDK, OpenAI
    "input_file": "document",
    "input_audio": "audio",
    "audio": "audio",
    "audio-url": "audio",
    "video": "video",
    "video-url": "video",
    "binary": "document",  # Pydantic AI
}
# Key of a part without a kind → the same.
MEDIA_KEYS: Final = {
    "inlineData": "document",  # Gemini
    "inline_data": "document",
    "fileData": "document",
    "file_data": "document",
    "media": "document",  # Genkit
    "image": "image",  # Bedrock
    "document": "document",
    "video": "video",
}
_WRAPPERS: Final = ("source", "image_url", "image", "file", "input_audio", *MEDIA_KEYS, "bytes", "data")
_WRAPPED_TYPES: Final = ("base64", "url", "file", "Buffer")
_MIME_TYPES: Final = ("mime_type", "mimeType", "media_type", "mediaType", "contentType", "image_mimetype")
_DATA: Final = ("data", "content", "bytes", "image", "file_data")
_ADDRESSES: Final = ("url", "uri", "image_url", "fileUri", "file_uri")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,31}:")
# What the Langfuse SDKs put in the place of bytes that they sent elsewhere.
_REFERENCE: Final = re.compile(r"@@@langfuseMedia:type=([^|@]*)\|")
_LEVELS: Final = 3
_MODALITIES: Final = ("image", "audio", "video")


def media_part(part: Part, modality: str) -> Part | None:
    """The part of one medium, None when it holds none that is understood; `part` comes without its kind.

    What has no place in it (detail, file name, provider options) stays beside.
    """
    flat = _flat(part)
    if flat is None:
        return None
    mime_type = _take(flat, _MIME_TYPES) or _mime_type_of(flat, modality)
    if data := _take_bytes(flat) or _take(flat, _DATA):
        return _addressed(data, mime_type, modality, flat) or _blob(data, mime_type, modality, flat)
    if address := _take(flat, _ADDRESSES):
        return _addressed(address, mime_type, modality, flat)
    if file_id := _take(flat, ("file_id",)):
        return _part("file", mime_type, modality, flat, file_id=file_id)
    return None


def _flat(part: Part) -> Part | None:
    """The part with the objects in it opened, None when that would lose a key."""
    flat = {key: value for key, value in part.items() if value is not None}
    for _ in range(_LEVELS):
        wrapper = next((key for key in _WRAPPERS if isinstance(flat.get(key), dict)), None)
        if wrapper is None:
            return flat
        inner = {key: value for key, value in flat.pop(wrapper).items() if value is not None}
        if inner.get("type") in _WRAPPED_TYPES:
            del inner["type"]
        if inner.keys() & flat.keys() or "type" in inner:
            return None
        flat |= inner
    return None


def _take(flat: Part, names: tuple[str, ...]) -> str:
    """The first text under one of the names, taken out of the part; empty when there is none."""
    name = next((name for name in names if isinstance(flat.get(name), str) and flat[name]), None)
    return "" if name is None else flat.pop(name)


def _take_bytes(flat: Part) -> str:
    """Base64 of bytes that came as a list of numbers (a Node.js Buffer)."""
    numbers = flat.get("data")
    if not isinstance(numbers, list) or not all(type(number) is int and 0 <= number <= 255 for number in numbers):  # noqa: PLR2004 - a byte
        return ""
    return base64.b64encode(bytes(flat.pop("data"))).decode()


def _mime_type_of(flat: Part, modality: str) -> str:
    name = _take(flat, ("format",))
    return f"{modality}/{name}" if name else ""


def _modality(mime_type: str, modality: str) -> str:
    kind = mime_type.partition("/")[0]
    return kind if kind in _MODALITIES else modality


def _blob(data: str, mime_type: str, modality: str, rest: Part) -> Part | None:
    return _part("blob", mime_type, modality, rest, content=data)


def _addressed(address: str, mime_type: str, modality: str, rest: Part) -> Part | None:
    """The part of an address, a `data:` one opened; None when the text is no address."""
    if reference := _REFERENCE.match(address):
        return _blob(address, mime_type or reference[1], modality, rest)
    if not _SCHEME.match(address):
        return None
    head, comma, data = address.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        return _blob(data, head[len("data:") : -len(";base64")] or mime_type, modality, rest)
    return _part("uri", mime_type, modality, rest, uri=address)


def _part(kind: str, mime_type: str, modality: str, rest: Part, **body: str) -> Part | None:
    """The part with what stays beside it, None when that would hide one of its own keys."""
    own = {"type": kind, "modality": rest.pop("modality", _modality(mime_type, modality))}
    own |= ({"mime_type": mime_type} if mime_type else {}) | body
    return None if own.keys() & rest.keys() else own | rest
