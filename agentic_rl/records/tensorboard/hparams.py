"""A run's settings as TensorBoard's HParams tab shows them: what was chosen, by short names, and what is not at its default."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from agentic_rl.config import ConfigError, from_json, snake_case

ALWAYS = (
    "learning_rate",
    "problems",
    "attempts",
)  # shown also at their default, because runs differ in them most often
NEVER = (
    "devices", "launcher", "micro_batch", "seeds_at_once", "chunk", "checkpoint_every", "eval_every", "eval_episodes",
)  # they change no weight  # fmt: skip
CELLS = (
    "actor",
    "labels",
    "values",
    "surrogate",
)  # of the table of algorithms: the algorithm's name says them
BARE = (
    "algorithm.",
    "task.",
    "policy.",
    "optimizer.",
    "credit.",
    "surrogate.",
    "actor.",
)  # parts that a short name leaves out
LONGEST = 40  # characters of a text
Setting = bool | int | float | str


def hparams(config: dict[str, Any]) -> dict[str, Setting]:
    """Returns the settings of a config as config.json holds it: the algorithm, the task and each part by name, and what is not default.

    >>> running_sum = {"class": "agentic_rl.envs.running_sum.RunningSum", "num_turns": 16}
    >>> hparams({"task": running_sum, "warm_start": {"updates": 20}, "devices": 2})
    {'task': 'running_sum', 'num_turns': 16, 'warm_start.updates': 20}
    """
    try:
        value = from_json(config)
    except ConfigError:  # of another version: as it stands there, without defaults
        value = config
    return {short(path): display_value(x) for path, x in settings(value)}


def settings(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the path and the value of each setting to show."""
    if isinstance(value, dict):
        fields = {name: (x, dataclasses.MISSING) for name, x in value.items() if name != "class"}
    else:
        fields = {f.name: (getattr(value, f.name), f.default) for f in dataclasses.fields(value)}
    for name, (x, default) in fields.items():
        if name in NEVER:
            continue
        is_part = dataclasses.is_dataclass(x) or isinstance(x, dict)
        is_chosen = type(x) is not type(default) and display_name(x) if is_part else x != default
        if (
            is_chosen
            and not (name in CELLS and display_name(value) != "custom")
            or short(path + name) in ALWAYS
        ):
            yield path + name, x
        if is_part:
            yield from settings(x, f"{path}{name}.")


def display_name(part: Any) -> str:
    """Returns the title or name of a part, of a mixture the names of its tasks; "" of other dictionaries."""
    if dataclasses.is_dataclass(part):
        return getattr(part, "title", None) or getattr(
            part, "name", snake_case(type(part).__name__)
        )
    if "class" in part:
        return snake_case(str(part["class"]).rpartition(".")[2])
    return " + ".join(part) if all(map(dataclasses.is_dataclass, part.values())) else ""


def short(path: str) -> str:
    """Returns a setting's name without the parts that go without saying.

    >>> short("algorithm.optimizer.learning_rate"), short("warm_start.updates"), short("algorithm.kl.coefficient")
    ('learning_rate', 'warm_start.updates', 'kl.coefficient')
    """
    for prefix in BARE:
        path = path.removeprefix(prefix)
    return path


def display_value(value: Any) -> Setting:
    """Returns a setting as TensorBoard takes it: a part by its name, what is long by its length or its end."""
    if dataclasses.is_dataclass(value) or isinstance(value, dict):
        return display_name(value)
    if isinstance(value, bool | int | float):
        return value
    text = str(value)
    if len(text) <= LONGEST:
        return text
    return f"{len(value)} values" if isinstance(value, tuple | list) else f"...{text[-LONGEST:]}"
