"""What the components that run have in common: endpoints and paths are taken once, and one process has one gRPC."""

import os
from collections.abc import Iterator
from typing import Final

from config.annotations import declared, marker
from config.errors import ConfigError, join_path
from config.models import MetadataSettings, OtlpReceiverSettings
from config.settings import Settings
from config.values import EMBEDDED, UNIX, Exclusive
from config.yaml_tree import Mapping, find

_WILDCARDS: Final = {"", "0.0.0.0", "[::]"}  # noqa: S104 - recognised here, not bound


def check_resources(root: Mapping, running: dict[tuple[str, ...], Settings], problems: list[ConfigError]) -> None:
    """Reports every endpoint or path that an earlier one of *running* (by its place in the file) has already."""
    taken: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for path, kind, value in _claims(running):
        name = join_path(path)
        slot, host = _slot(kind, value)
        owners = taken.setdefault((kind, slot), [])
        owner = next((owner for other, owner in owners if host == other or {host, other} & _WILDCARDS), "")
        if owner and slot != "0":
            place = find(root, root.mark, path)
            shown = "" if place.node.origin else f" {value}"
            problems.append(place.mark.error(name, f"{kind}{shown} is taken by {owner}"))
        owners.append((host, name))


def check_tls_versions(root: Mapping, running: dict[tuple[str, ...], Settings], problems: list[ConfigError]) -> None:
    """Reports gRPC receivers that differ in `tls.min_version`: gRPC can be told one for a whole process only."""
    first = ""
    for path, settings in running.items():
        grpc = settings.protocols.grpc if isinstance(settings, OtlpReceiverSettings) else None
        if grpc is None or grpc.tls is None:
            continue
        first = first or grpc.tls.min_version
        if grpc.tls.min_version != first:
            place = (*path, "protocols", "grpc", "tls", "min_version")
            message = f"must be the same for every gRPC receiver; another has {first}"
            problems.append(find(root, root.mark, place).mark.error(join_path(place), message))


def _claims(running: dict[tuple[str, ...], Settings]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    for path, settings in running.items():
        yield from _owned(settings, path)


def _owned(settings: Settings, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        exclusive = marker(declared(field), Exclusive)
        if isinstance(value, Settings):
            yield from _owned(value, (*path, name))
        elif exclusive and not _unused(settings):
            yield (*path, name), exclusive.kind, value


def _unused(settings: Settings) -> bool:
    """The embedded Postgres' directory means nothing beside a server's DSN, or without Postgres."""
    return isinstance(settings, MetadataSettings) and settings.postgres.get_secret_value() != EMBEDDED


def _slot(kind: str, value: str) -> tuple[str, str]:
    """What can be taken, and for a port the host that it is taken on; port 0 is any free one."""
    if kind == "path":
        return os.path.abspath(value), ""  # noqa: PTH100 - normalises without asking the disk
    if value.startswith(UNIX):
        return os.path.abspath(value.removeprefix(UNIX)), ""  # noqa: PTH100 - normalises without asking the disk
    host, _, port = value.rpartition(":")
    return str(int(port)), "127.0.0.1" if host == "localhost" else host
