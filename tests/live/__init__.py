"""Released instrumentations, installed in an environment of their own and run against a model server of known truth."""
