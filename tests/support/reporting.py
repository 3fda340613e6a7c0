"""What tests say beside their verdict."""

from collections.abc import Callable

Report = Callable[[str], None]
"""Takes a line of figures: sent, acknowledged, stored, doubled, memory. The fixture `report` is one."""
