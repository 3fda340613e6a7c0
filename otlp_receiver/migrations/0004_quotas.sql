-- What each project has sent in a calendar month, UTC. No reference to projects: keys of the configuration may name others.
CREATE TABLE project_usage (
    project_id text NOT NULL,
    month      date NOT NULL, -- its first day
    spans      bigint NOT NULL,
    bytes      bigint NOT NULL,
    PRIMARY KEY (project_id, month)
);
CREATE INDEX project_usage_of_month ON project_usage (month);

-- The ingest processes and what comes to each, by project; a row is written again every few seconds.
CREATE UNLOGGED TABLE ingest_processes (
    id               uuid PRIMARY KEY,
    reported_at      timestamptz NOT NULL DEFAULT now(),
    projects         text[] NOT NULL,
    spans_per_second float8[] NOT NULL,
    bytes_per_second float8[] NOT NULL
) WITH (fillfactor = 50);

CREATE VIEW live_ingest_processes AS
    SELECT * FROM ingest_processes WHERE reported_at > now() - interval '15 seconds';
