"""Everything one can choose is a frozen dataclass whose fields are its knobs; this file makes such a class and stores it.

Float fields (and nested configs) are pytree data, so one compiled program serves a sweep over learning rates and lambdas; all
other fields are static. A folder is its own registry: `named` lists the config classes of a package by their snake_case names.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import re
from types import ModuleType
from typing import Any, get_origin

import jax

STATIC = (int, bool, str, tuple)


class ConfigError(ValueError):
    """A user's mistake, said in one sentence that tells what to do."""


def config(cls: type) -> type:
    """The class as a frozen, hashable dataclass and pytree: floats and nested configs are leaves, the rest is static."""
    cls = dataclasses.dataclass(frozen=True)(cls)
    strings = [f.name for f in dataclasses.fields(cls) if isinstance(f.type, str)]
    if strings:
        raise TypeError(f"The types of {cls.__name__}'s fields are strings; leave out `from __future__ import annotations` in its file.")
    static = [f.name for f in dataclasses.fields(cls) if get_origin(f.type) or (inspect.isclass(f.type) and issubclass(f.type, STATIC))]
    data = [f.name for f in dataclasses.fields(cls) if f.name not in static]

    def unflatten(aux, leaves):
        new = object.__new__(cls)  # not through __init__: its range checks are for numbers, not for tracers
        for name, value in zip(static + data, (*aux, *leaves)):
            object.__setattr__(new, name, value)
        return new

    jax.tree_util.register_pytree_with_keys(
        cls,
        lambda x: ([(jax.tree_util.GetAttrKey(n), getattr(x, n)) for n in data], tuple(getattr(x, n) for n in static)),
        unflatten,
        lambda x: ([getattr(x, n) for n in data], tuple(getattr(x, n) for n in static)),
    )
    return cls


def check(condition: bool, sentence: str) -> None:
    """Nothing, if `condition` holds.

    Raises: ConfigError with `sentence`, which says what is wrong and what to do.
    """
    if not condition:
        raise ConfigError(sentence)


def to_json(value: Any) -> Any:
    """The config (or a dict of configs) as plain dicts, each config's class under "class"; `from_json` reads it back."""
    if isinstance(value, dict):
        return {name: to_json(x) for name, x in value.items()}
    if not dataclasses.is_dataclass(value):
        return [to_json(x) for x in value] if isinstance(value, tuple) else value
    fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **fields}


def from_json(value: Any) -> Any:
    """The config that `to_json` wrote.

    Raises: ConfigError if a class or a field no longer exists.
    """
    if isinstance(value, list):
        return tuple(from_json(x) for x in value)
    if not isinstance(value, dict):
        return value
    if "class" not in value:
        return {name: from_json(x) for name, x in value.items()}
    module, _, name = value["class"].rpartition(".")
    ours = module.split(".")[0] in ("agentic_rl", "experiments")
    check(ours, f"config.json names the class {value['class']}, which is not of this package.")
    try:
        cls = getattr(importlib.import_module(module), name)
        kinds = {f.name: f.type for f in dataclasses.fields(cls) if inspect.isclass(f.type) and issubclass(f.type, tuple)}
        fields = {k: from_json(v) for k, v in value.items() if k != "class"}
        return cls(**{k: kinds[k](v) if k in kinds else v for k, v in fields.items()})
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(f"config.json was written by another version of this package ({error}); use that version.") from None


def snake_case(name: str) -> str:
    """`LeaveOneOut` -> `leave_one_out`; a number of two digits or more is a word.

    >>> snake_case("LeaveOneOut"), snake_case("GAE"), snake_case("AgentsOf2023")
    ('leave_one_out', 'gae', 'agents_of_2023')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[a-z])(?=[0-9]{2})", "_", name).lower()


def named(package: ModuleType) -> dict[str, type]:
    """The config classes that a module, or the modules of a folder, define, by snake_case name."""
    names = [package.__name__]
    if hasattr(package, "__path__"):
        names += [f"{package.__name__}.{m.name}" for m in pkgutil.iter_modules(package.__path__)]
    found = {}
    for module in map(importlib.import_module, names):
        for name, cls in inspect.getmembers(module, dataclasses.is_dataclass):
            if inspect.isclass(cls) and cls.__module__ == module.__name__ and not name.startswith("_"):
                found[snake_case(name)] = cls
    return found
