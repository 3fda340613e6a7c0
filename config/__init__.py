"""Settings: what a configuration may say, and how it is read, checked, printed and published.

`load` gives a typed, frozen `Config` or raises `ConfigErrors` with every problem, each at its place.
"""

from config.errors import ConfigError, ConfigErrors
from config.json_schema import json_schema
from config.loader import load
from config.models import Config
from config.printing import print_config

__all__ = ["Config", "ConfigError", "ConfigErrors", "json_schema", "load", "print_config"]
