"""What a process needs to use the metadata store, and its one way there."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otlp_receiver.metadata_store import MetadataStore


@dataclass(frozen=True, slots=True)
class MetadataAccess:
    """Handed from the supervisor to its children.

    Attributes:
        dsn: where the database is, the password included.
        hash_key: what secrets are hashed under; empty when the configuration uses no keys of the store.
    """

    dsn: str = field(repr=False)
    hash_key: bytes = field(repr=False, default=b"")


class SharedStore:
    """The metadata store of a process: one pool of connections for all who use it, opened for the first of them.

    Args:
        access: where the store is; None when there is none.
    """

    def __init__(self, access: MetadataAccess | None) -> None:
        self._access = access
        self._store: MetadataStore | None = None

    @property
    def exists(self) -> bool:
        """Whether there is one; the rest may be used only then."""
        return self._access is not None

    @property
    def hash_key(self) -> bytes:
        """See `MetadataAccess`."""
        return self._known().hash_key

    def opened(self) -> "MetadataStore":
        """The store, open whether the database is there or not; its users leave it open.

        Raises:
            Permanent: the address is malformed.
        """
        if self._store is None:
            from otlp_receiver.metadata_store import MetadataStore  # brings a Postgres client along: 9 MB

            self._store = MetadataStore(self._known().dsn)
            self._store.open_unwaited()
        return self._store

    def close(self) -> None:
        """Close every connection, after those who use them; does nothing when nobody did."""
        if self._store is not None:
            self._store.close()

    def _known(self) -> MetadataAccess:
        assert self._access is not None, "the configuration was checked"
        return self._access
