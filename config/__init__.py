"""Settings: what a configuration may say, and how it is read, checked, printed and published.

`config.loader.load` gives a typed, frozen `Config` or raises `ConfigErrors` with every problem, each at its place. This
package itself imports no YAML: the processes of the service get their `Config` ready made.
"""

from config.errors import ConfigError, ConfigErrors
from config.models import Config

__all__ = ["Config", "ConfigError", "ConfigErrors"]
