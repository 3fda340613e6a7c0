"""The one way of a process to the metadata store."""

import subprocess
import sys

import pytest

from otlp_receiver.metadata_access import MetadataAccess, SharedStore
from pipelines.errors import Permanent
from tests.support.postgres import postgres_server


def test_one_pool_for_all() -> None:
    """Whoever asks gets the same store, open, until it is closed for all."""
    with postgres_server() as dsn:
        shared = SharedStore(MetadataAccess(dsn, b"hash key"))
        store = shared.opened()
        with store.transaction() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)

        assert shared.opened() is store
        assert (shared.exists, shared.hash_key) == (True, b"hash key")

        shared.close()

        with pytest.raises(Permanent, match="is not open"), store.transaction():
            pass


@pytest.mark.parametrize("access", ["None", "MetadataAccess('postgresql://nowhere')"])
def test_nobody_pays_for_what_nobody_uses(access: str) -> None:
    """A process that asks for nothing of the store does not load a Postgres client."""
    code = (
        "import sys; from otlp_receiver.metadata_access import MetadataAccess, SharedStore\n"
        f"SharedStore({access}).close(); print('psycopg' in sys.modules)"
    )

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert printed.stdout == "False\n"
