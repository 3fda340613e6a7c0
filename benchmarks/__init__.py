"""Load generators and measurements; `python -m benchmarks`."""
