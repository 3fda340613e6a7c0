"""Who can reach what listens: beyond loopback a listener says who may use it, or that everyone may."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from config.access import NOBODY, ApiKeysSettings, AuthSettings
from config.errors import ConfigError, did_you_mean, join_path
from config.models import MetadataSettings, OtlpReceiverSettings, ServerSettings, SqlHttpSettings
from config.settings import Settings
from config.values import EMBEDDED, NO_POSTGRES, UNIX
from config.wiring import used_ids
from config.yaml_tree import Mapping as Tree
from config.yaml_tree import find

Running = Mapping[tuple[str, ...], Settings]
Listener = ServerSettings | SqlHttpSettings

_AUTHENTICATORS: Final = ("api_keys", "static_keys")
_CURES: Final = (
    "is reachable from other machines, but says not who may use it: add `auth: {authenticator: api_keys}` with an "
    "extension api_keys (or static_keys), or `auth: none` to let everyone in"
)
_NO_HASH_KEY: Final = (
    "is required by api_keys beside a Postgres of your own: set it to 32 random characters or more "
    "(openssl rand -hex 32), the same for every process and for the command line"
)


def check_access(root: Tree, running: Running, problems: list[ConfigError]) -> None:
    """Reports listeners that are open unsaid, and authenticators that are not there or cannot work."""
    started = used_ids(root).get("extensions", ())
    authenticators = [each for each in started if each.partition("/")[0] in _AUTHENTICATORS]
    for path, listener in listeners(running):
        if listener.auth is None and not is_local(listener.endpoint):
            place = (*path, "endpoint")
            problems.append(find(root, root.mark, place).mark.error(join_path(place), _CURES))
        elif listener.auth is not None:
            _check_authenticator(root, (*path, "auth", "authenticator"), listener.auth, authenticators, problems)
    if any(isinstance(settings, ApiKeysSettings) for settings in running.values()):
        _check_metadata(root, running, problems)


def listeners(running: Running) -> Iterator[tuple[tuple[str, ...], Listener]]:
    """What people send to and read from, by its place in the file."""
    for path, settings in running.items():
        if isinstance(settings, SqlHttpSettings):
            yield path, settings
        elif isinstance(settings, OtlpReceiverSettings):
            for name in ("grpc", "http"):
                protocol = getattr(settings.protocols, name)
                if protocol is not None:
                    yield (*path, "protocols", name), protocol


def is_local(endpoint: str) -> bool:
    """Whether only this machine, or who may open a unix socket, reaches the endpoint."""
    host = endpoint.rpartition(":")[0]
    if endpoint.startswith(UNIX) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_authenticator(
    root: Tree, place: tuple[str, ...], auth: AuthSettings, known: Sequence[str], problems: list[ConfigError]
) -> None:
    if auth.authenticator == NOBODY or auth.authenticator in known:
        return
    found = find(root, root.mark, place)
    shown = found.node.origin or f'"{auth.authenticator}"'
    near = did_you_mean(auth.authenticator, [*known, NOBODY])
    message = f"references {shown}, which is no extension api_keys or static_keys that is started{near}"
    problems.append(found.mark.error(join_path(place), message))


def _check_metadata(root: Tree, running: Running, problems: list[ConfigError]) -> None:
    metadata = running.get(("metadata",))
    if not isinstance(metadata, MetadataSettings):
        return
    postgres = metadata.postgres.get_secret_value()
    if postgres == NO_POSTGRES:
        message = "api_keys needs Postgres: set metadata.postgres, or use static_keys"
        problems.append(find(root, root.mark, ("metadata", "postgres")).mark.error("metadata::postgres", message))
    elif postgres != EMBEDDED and metadata.hash_key is None:
        place = find(root, root.mark, ("metadata", "hash_key"))
        problems.append(place.mark.error("metadata::hash_key", _NO_HASH_KEY))
