"""The file of `keys import`: keys with their secrets, and whatever is wrong with it, each at its line."""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path

from config.access import StaticKeySettings
from config.errors import ConfigError, Mark, join_path
from config.expansion import expand
from config.prices import Day
from config.sources import UnreadableError, read_text
from config.validation import validated
from config.yaml_parser import parse
from config.yaml_tree import Mapping, Node, Sequence, find, is_broken
from otlp_receiver.imported_keys import public_fault, secret_fault
from otlp_receiver.keys import NewKey
from otlp_receiver.metadata.api_keys import GivenKey
from otlp_receiver.static_keys import read_secret
from pipelines.errors import Permanent


class ImportedKeySettings(StaticKeySettings):
    """One key of the file: a static key of a configuration is one as it is."""

    expires: Day | None = None
    """First day (UTC) on which it is refused; absent = never."""
    note: str = ""
    """Whose it is, or what for."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and where it stands.

    Attributes:
        given: what is to be taken over.
        mark: its place in the file.
        path: of its place, as errors name it.
    """

    given: GivenKey
    mark: Mark
    path: str


def read_keys(file: Path, project: str, problems: list[ConfigError]) -> list[Entry]:
    """The keys of a file that have no faults; those of the others are added to `problems`.

    Args:
        file: YAML, so JSON too: a list, or a mapping with one under `keys`; `${env:NAME}` is replaced.
        project: whose keys they all are; empty = as the file says.
        problems: found so far.
    """
    try:
        root = expand(parse(read_text(file), str(file), problems), problems)
    except UnreadableError as error:
        problems.append(Mark(str(file)).error("", f"cannot be read: {error}"))
        return []
    listed = root.entries.get("keys", root) if isinstance(root, Mapping) else root
    if not isinstance(listed, Sequence) or not listed.items:
        if not is_broken(listed):
            problems.append(listed.mark.error("", "holds no keys; expected a list, or a mapping with one under `keys`"))
        return []
    read = [_entry(item, number, project, problems) for number, item in enumerate(listed.items)]
    return _distinct([entry for entry in read if entry is not None], problems)


def _entry(node: Node, number: int, project: str, problems: list[ConfigError]) -> Entry | None:
    settings = validated(ImportedKeySettings, node, node.mark, (_path(number),), problems)
    if settings is None:
        return None
    try:
        secret = read_secret(settings)
    except Permanent as error:
        problems.append(_at(node, number, "secret_key_file", str(error)))
        return None
    faults = {
        "public_key": public_fault(settings.public_key),
        "secret_key" if settings.secret_key else "secret_key_file": secret_fault(secret),
        "expires": "has expired already: leave it out" if _has_expired(settings) else "",
    }
    found = [_at(node, number, name, fault) for name, fault in faults.items() if fault]
    problems += found
    return None if found else Entry(_given(settings, secret, project), node.mark, _path(number))


def _at(node: Node, number: int, name: str, fault: str) -> ConfigError:
    return find(node, node.mark, (name,)).mark.error(join_path([_path(number), name]), fault)


def _path(number: int) -> str:
    return join_path(["keys", number])


def _given(settings: ImportedKeySettings, secret: str, project: str) -> GivenKey:
    expires_at = datetime.combine(settings.expires, time(), UTC) if settings.expires else None
    scopes = tuple(sorted(set(settings.scopes)))
    return GivenKey(NewKey(settings.public_key, secret), project or settings.project, scopes, settings.note, expires_at)


def _has_expired(settings: ImportedKeySettings) -> bool:
    return settings.expires is not None and settings.expires <= datetime.now(UTC).date()


def _distinct(entries: list[Entry], problems: list[ConfigError]) -> list[Entry]:
    """Those whose public key and secret no earlier one has."""
    public: dict[str, Entry] = {}
    secret: dict[str, Entry] = {}
    for entry in entries:
        key = entry.given.key
        for what, known in (
            ("public key", public.setdefault(key.public_key, entry)),
            ("secret", secret.setdefault(key.secret, entry)),
        ):
            if known is not entry:
                problems.append(entry.mark.error(entry.path, f"has the {what} of the key in line {known.mark.line}"))
    first = {id(entry) for entry in public.values()} & {id(entry) for entry in secret.values()}
    return [entry for entry in entries if id(entry) in first]
