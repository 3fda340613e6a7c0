-- Prices of the cost processor, in its own words: config/prices.py, PriceSettings.
CREATE TABLE model_prices (
    id                     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id             text REFERENCES projects (id), -- NULL: for all projects
    model                  text NOT NULL, -- regular expression (RE2) for the whole name
    provider               text, -- NULL: any
    valid_from             date, -- NULL: always
    usd_per_million_tokens jsonb NOT NULL, -- by bucket, decimal numbers as text
    tiers                  jsonb NOT NULL DEFAULT '[]',
    created_at             timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (project_id, model, provider, valid_from)
);
