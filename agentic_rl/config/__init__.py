"""Everything that one can choose is a frozen dataclass whose fields are its settings: a task, an algorithm and its parts, a run.

This folder makes such classes (`dataclass`), declares which numbers their fields may have (`ranges`), finds the classes of a
folder by their names (`registry`), and stores them as JSON (`stored`). What there is to choose is defined elsewhere.
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
