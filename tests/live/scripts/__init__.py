"""One application per instrumentation; they run in the environment that `tests.live.environment` makes."""
