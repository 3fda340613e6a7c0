"""The authenticators that the listeners of a process name: built when one names them, started and closed together."""

from typing import Any

from config import Config
from config.access import AuthSettings, Scope, is_open
from otlp_receiver.authentication import Authenticate, Authenticator, authenticate_by, let_everyone_in
from otlp_receiver.metadata_access import SharedStore


class Authenticators:
    """Those of one process; each id is built once.

    Args:
        config: whose extensions they are.
        store: the metadata store of the process.
    """

    def __init__(self, config: Config, store: SharedStore) -> None:
        self._config = config
        self._store = store
        self._built: dict[str, Authenticator] = {}

    def named(self, auth: AuthSettings | None, scope: Scope) -> Authenticate:
        """What settles the project of a listener's requests; keys must have the scope."""
        if auth is None or is_open(auth):
            return let_everyone_in
        name = auth.authenticator
        if name not in self._built:
            self._built[name] = self._build(name, self._config.extensions[name])
        return authenticate_by(self._built[name], scope)

    def _build(self, name: str, settings: Any) -> Authenticator:
        if name.partition("/")[0] == "static_keys":
            from otlp_receiver.static_keys import StaticKeys

            return StaticKeys(settings)
        from otlp_receiver.api_keys import ApiKeys  # brings a Postgres client along: some MB

        return ApiKeys(settings, self._store.opened(), self._store.hash_key)

    async def start(self) -> None:
        """Start what listeners have named; raises Permanent for what keeps one from knowing its keys."""
        for each in self._built.values():
            await each.start()

    async def close(self) -> None:
        """Close them all."""
        for each in self._built.values():
            await each.close()
