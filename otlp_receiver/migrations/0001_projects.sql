CREATE TABLE organizations (
    id         text PRIMARY KEY,
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE projects (
    id              text PRIMARY KEY,
    name            text NOT NULL,
    organization_id text NOT NULL REFERENCES organizations (id),
    created_at      timestamptz NOT NULL DEFAULT now(),
    retention_days  integer CHECK (retention_days > 0) -- NULL: as the exporter's table says
);

INSERT INTO organizations (id, name) VALUES ('default', 'Default');
INSERT INTO projects (id, name, organization_id) VALUES ('default', 'Default', 'default');
