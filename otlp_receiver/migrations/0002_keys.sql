CREATE TABLE api_keys (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id     text NOT NULL REFERENCES projects (id),
    public_key     text NOT NULL UNIQUE,
    secret_hash    bytea NOT NULL UNIQUE CHECK (length(secret_hash) = 32), -- HMAC-SHA256 under metadata.hash_key
    display_suffix text NOT NULL, -- the end of the secret, for people who look for it
    scopes         text[] NOT NULL CHECK (scopes <@ ARRAY ['ingest', 'read'] AND scopes <> '{}'),
    note           text NOT NULL DEFAULT '',
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz,
    last_used_at   timestamptz, -- to some minutes
    revoked_at     timestamptz
);
CREATE INDEX api_keys_of_project ON api_keys (project_id);

CREATE VIEW valid_api_keys AS
    SELECT * FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

-- Counts changes of keys that somebody may have in memory: who sees the same number twice need not read them again.
CREATE TABLE api_key_changes (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    number   bigint NOT NULL DEFAULT 0
);
INSERT INTO api_key_changes DEFAULT VALUES;

CREATE FUNCTION count_api_key_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE api_key_changes SET number = number + 1;
    RETURN NULL;
END $$;

CREATE TRIGGER api_keys_changed
    AFTER UPDATE OF project_id, public_key, secret_hash, scopes, expires_at, revoked_at OR DELETE OR TRUNCATE
    ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION count_api_key_change();

-- What the hash key makes of a constant: with another key every sender would be told that its key is wrong.
CREATE TABLE hash_key_check (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    hash     bytea NOT NULL
);

CREATE TABLE quotas (
    project_id       text PRIMARY KEY REFERENCES projects (id),
    spans_per_second bigint CHECK (spans_per_second > 0), -- NULL anywhere: no limit
    spans_burst      bigint CHECK (spans_burst > 0),
    bytes_per_second bigint CHECK (bytes_per_second > 0),
    bytes_burst      bigint CHECK (bytes_burst > 0),
    spans_per_month  bigint CHECK (spans_per_month > 0)
);

-- Who changed what; written in the transaction of the change.
CREATE TABLE audit_log (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT now(),
    actor  text NOT NULL,
    action text NOT NULL, -- such as keys.create
    object text NOT NULL, -- id of what was changed
    detail jsonb NOT NULL DEFAULT '{}'
);
