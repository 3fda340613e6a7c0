"""The ingest and export halves, the record, and what lies between them."""
