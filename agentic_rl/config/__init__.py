"""Settings as frozen dataclasses: every task, algorithm, part of an algorithm and run is one.

This folder makes such classes (`dataclass`), declares the numbers that their fields may have
(`ranges`), finds the classes of a folder by their names (`registry`), and stores them as JSON
(`stored`). The settings themselves are defined elsewhere, where they are used.
"""

from agentic_rl.config.dataclass import STATIC, check, checked, config
from agentic_rl.config.ranges import ConfigError
from agentic_rl.config.registry import named, snake_case
from agentic_rl.config.stored import from_json, to_json

__all__ = [
    "STATIC",
    "ConfigError",
    "check",
    "checked",
    "config",
    "from_json",
    "named",
    "snake_case",
    "to_json",
]
