"""The authenticator `api_keys`: keys of the metadata store."""

from collections.abc import Sequence
from typing import Final

from config.access import ApiKeysSettings
from otlp_receiver.imported_keys import may_be_secret
from otlp_receiver.key_cache import KeyCache
from otlp_receiver.keys import Key, hash_secret
from otlp_receiver.metadata import api_keys
from otlp_receiver.metadata_store import MetadataStore

_QUERY_WAIT_SECONDS: Final = 2.0


class ApiKeys:
    """Keys of the metadata store.

    Args:
        settings: of the extension.
        store: open, and closed by whoever opened it.
        hash_key: what secrets are hashed under.
    """

    def __init__(self, settings: ApiKeysSettings, store: MetadataStore, hash_key: bytes) -> None:
        self._store = store
        self._hash_key = hash_key
        self._is_checked = False
        self._cache = KeyCache(self, settings.grace)

    async def start(self) -> None:
        """Does not wait for the database: keys are looked up when they come."""
        self._cache.start()

    async def close(self) -> None:
        """End what runs in the background."""
        await self._cache.close()

    async def find(self, secret: str) -> Key | None:
        """See `Authenticator.find`; what cannot be a secret, by its check sum or its shape, is never asked for."""
        digest = hash_secret(self._hash_key, secret)
        key = self._cache.known(digest)
        if key is None and may_be_secret(secret):
            key = await self._cache.find(digest)
        return key

    def look_up(self, digests: Sequence[bytes]) -> dict[bytes, Key]:
        """See `key_cache.Database`."""
        with self._store.transaction(_QUERY_WAIT_SECONDS) as connection:
            if not self._is_checked:  # under another hash key every key would look unknown
                api_keys.check_hash_key(connection, self._hash_key)
                self._is_checked = True
            return api_keys.find_valid(connection, digests)

    def changes(self) -> int:
        """See `key_cache.Database`."""
        with self._store.transaction(_QUERY_WAIT_SECONDS) as connection:
            return api_keys.changes(connection)

    def note_use(self, digests: Sequence[bytes]) -> None:
        """See `key_cache.Database`."""
        with self._store.transaction(_QUERY_WAIT_SECONDS) as connection:
            api_keys.note_use(connection, digests)
