"""Tests; helpers are in `support`."""
