"""Many keys of many projects, and the request that each sends."""

from collections.abc import Sequence
from typing import Final

import psycopg

from otlp_receiver.keys import NewKey, generate_key
from otlp_receiver.metadata import api_keys, projects
from otlp_receiver.metadata_store import MetadataStore
from tests.support.otlp import export, span, to_protobuf

BODY: Final = to_protobuf(export(span({"gen_ai.operation.name": "chat"})))


def make_keys(dsn: str, hash_key: bytes, count: int, project_ids: Sequence[str]) -> list[NewKey]:
    """New keys, in turn of the projects, which are made too."""
    store = MetadataStore(dsn)
    store.open()
    store.migrate()
    made = [generate_key() for _ in range(count)]
    with store.transaction() as connection:
        api_keys.check_hash_key(connection, hash_key)
        for project_id in project_ids:
            projects.create_project(connection, project_id, project_id, organization_id="default", actor="load")
        for number, key in enumerate(made):
            project_id = project_ids[number % len(project_ids)]
            api_keys.create(connection, key, hash_key=hash_key, project_id=project_id, scopes=["ingest"], actor="load")
    store.close()
    return made


def as_url(dsn: str) -> str:
    """A libpq connection string over a socket as the URL that a configuration takes."""
    fields = psycopg.conninfo.conninfo_to_dict(dsn)
    return f"postgresql://{fields['user']}@:{fields['port']}/{fields['dbname']}?host={fields['host']}"
