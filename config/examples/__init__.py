"""Configurations to start from, one per role."""
