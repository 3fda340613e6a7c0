"""What a process needs to use the metadata store."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MetadataAccess:
    """Handed from the supervisor to its children.

    Attributes:
        dsn: where the database is, the password included.
        hash_key: what secrets are hashed under; empty when the configuration uses no keys of the store.
    """

    dsn: str = field(repr=False)
    hash_key: bytes = field(repr=False, default=b"")
