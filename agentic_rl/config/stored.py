"""Writes configs as JSON, in which each names its class, and reads them back."""

import dataclasses
import importlib
import inspect
from types import ModuleType, UnionType
from typing import Any, Literal, get_args, get_origin

from agentic_rl.config import registry
from agentic_rl.config.dataclass import check
from agentic_rl.config.moved import current_path
from agentic_rl.config.ranges import ConfigError, kind


def to_json(value: Any) -> Any:
    """Returns a config, or a dict of configs, as plain dicts; `from_json` reads it back.

    Each config's class is stored under "class".
    """
    if isinstance(value, dict):
        return {name: to_json(x) for name, x in value.items()}
    if not dataclasses.is_dataclass(value):
        return [to_json(x) for x in value] if isinstance(value, tuple) else value
    fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **fields}


def from_json(value: Any) -> Any:
    """Returns the config that `to_json` wrote.

    Raises: ConfigError if a class or a field no longer exists, or a value does not fit its field.
    """
    if isinstance(value, list):
        return tuple(from_json(x) for x in value)
    if not isinstance(value, dict):
        return value
    if "class" not in value:
        return {name: from_json(x) for name, x in value.items()}
    module, _, name = current_path(str(value["class"])).rpartition(".")
    is_ours = module.split(".")[0] in ("agentic_rl", "experiments")
    check(is_ours, f"config.json names the class {value['class']}, which is not of this package.")
    fields = {name: x for name, x in value.items() if name != "class"}
    try:
        return _config(getattr(_module(module), name), fields)
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"config.json was written by another version of this package ({error}); use that"
            " version."
        ) from None


def _config(cls: type, stored: dict[str, Any]) -> Any:
    """Returns a config of this class with the fields that are stored as JSON."""
    kinds = {f.name: f.type for f in dataclasses.fields(cls)}
    values = {}
    for name, x in stored.items():
        value, of = from_json(x), kinds.get(name)
        is_tuple_class = inspect.isclass(of) and issubclass(of, tuple)  # such as a table of pairs
        values[name] = of(value) if is_tuple_class else value
    _check_types(cls, values)
    return cls(**values)


def _check_types(cls: type, values: dict[str, Any]) -> None:
    for field in dataclasses.fields(cls):
        if field.name in values:
            value, of = values[field.name], kind(field.type)
            check(
                _fits(value, of),
                f"config.json has {value!r} where the {field.name} of {cls.__name__} is of the"
                f" kind {getattr(of, '__name__', of)}; put config.json back from a copy.",
            )


def _fits(value: Any, of: Any) -> bool:
    """Returns whether `value` may stand in a field of type `of`; a union is left to its class."""
    origin = get_origin(of) or of
    if origin is Literal:
        return value in get_args(of)
    if origin is Any:  # a part that can be swapped, or a mixture of tasks
        parts = list(value.values()) if isinstance(value, dict) else [value]
        return bool(parts) and all(map(dataclasses.is_dataclass, parts))
    if origin in (int, float):
        numbers = int if origin is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    is_plain_class = inspect.isclass(origin) and origin is not UnionType
    return isinstance(value, origin) if is_plain_class else True


def _module(name: str) -> ModuleType:
    """Returns the module that defines a stored config's class.

    Raises: ImportError if it does not exist; ConfigError if its file is broken.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise
    except Exception as error:
        reason = registry.import_failure(name, error)
        raise ConfigError(f"config.json names a class of {name}, but {reason}") from None
