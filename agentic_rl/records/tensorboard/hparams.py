"""A run's settings as TensorBoard's HParams tab shows them: short names, only what was chosen."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from agentic_rl.config import ConfigError, from_json, snake_case

# Shown even at their defaults, because runs differ in them most often.
ALWAYS = ("learning_rate", "problems", "attempts")
# Never shown, because they change no weight.
NEVER = (
    "devices",
    "launcher",
    "micro_batch",
    "seeds_at_once",
    "chunk",
    "checkpoint_every",
    "eval_every",
    "eval_episodes",
)
# The parts of an algorithm that its name implies.
IMPLIED = ("actor", "labels", "values", "surrogate")
# The parts that a short name leaves out.
BARE = ("algorithm.", "task.", "policy.", "optimizer.", "credit.", "surrogate.", "actor.")
LONGEST = 40  # characters of a text
Setting = bool | int | float | str


def hparams(config: dict[str, Any]) -> dict[str, Setting]:
    """Returns the settings of a config, given as config.json holds it, by their short names.

    These are the algorithm, the task and each part by name, and the values that are not defaults.

    >>> running_sum = {"class": "agentic_rl.envs.running_sum.RunningSum", "num_turns": 16}
    >>> hparams({"task": running_sum, "warm_start": {"updates": 20}, "devices": 2})
    {'task': 'running_sum', 'num_turns': 16, 'warm_start.updates': 20}
    """
    try:
        value = from_json(config)
    except ConfigError:  # another version wrote it: shown as it stands there, without defaults
        value = config
    return {short_name(path): display_value(x) for path, x in chosen_settings(value)}


def chosen_settings(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the path and the value of each setting to show."""
    for name, inner, default in _fields(value):
        if name in NEVER:
            continue
        is_part = dataclasses.is_dataclass(inner) or isinstance(inner, dict)
        if is_part:
            is_chosen = type(inner) is not type(default) and bool(display_name(inner))
        else:
            is_chosen = inner != default
        is_implied = name in IMPLIED and display_name(value) != "custom"
        if is_chosen and not is_implied or short_name(path + name) in ALWAYS:
            yield path + name, inner
        if is_part:
            yield from chosen_settings(inner, f"{path}{name}.")


def _fields(value: Any) -> list[tuple[str, Any, Any]]:
    """Returns name, value and default of each field of a config, or of a dict without defaults."""
    if isinstance(value, dict):
        return [(name, x, dataclasses.MISSING) for name, x in value.items() if name != "class"]
    return [(f.name, getattr(value, f.name), f.default) for f in dataclasses.fields(value)]


def display_name(part: Any) -> str:
    """Returns the title or name of a part, or of a mixture the names of its tasks.

    It is "" for other dictionaries.
    """
    if dataclasses.is_dataclass(part):
        own_name = getattr(part, "name", snake_case(type(part).__name__))
        return getattr(part, "title", None) or own_name
    if "class" in part:
        return snake_case(str(part["class"]).rpartition(".")[2])
    return " + ".join(part) if all(map(dataclasses.is_dataclass, part.values())) else ""


def short_name(path: str) -> str:
    """Returns a setting's name without the parts that go without saying.

    >>> short_name("algorithm.optimizer.learning_rate"), short_name("algorithm.kl.coefficient")
    ('learning_rate', 'kl.coefficient')
    """
    for prefix in BARE:
        path = path.removeprefix(prefix)
    return path


def display_value(value: Any) -> Setting:
    """Returns a setting as TensorBoard takes it.

    A part is shown by its name, and a long value by its length or its end.
    """
    if dataclasses.is_dataclass(value) or isinstance(value, dict):
        return display_name(value)
    if isinstance(value, bool | int | float):
        return value
    text = str(value)
    if len(text) <= LONGEST:
        return text
    return f"{len(value)} values" if isinstance(value, tuple | list) else f"...{text[-LONGEST:]}"
