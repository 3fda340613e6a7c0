"""The metadata database, step by step: NNNN_name.sql, each applied once, in order; never edited after a release."""
