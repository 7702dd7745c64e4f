"""Configs as JSON, in which each names its class, and back."""

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
    """The config (or a dict of configs) as plain dicts, each config's class under "class"; `from_json` reads it back."""
    if isinstance(value, dict):
        return {name: to_json(x) for name, x in value.items()}
    if not dataclasses.is_dataclass(value):
        return [to_json(x) for x in value] if isinstance(value, tuple) else value
    fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **fields}


def from_json(value: Any) -> Any:
    """The config that `to_json` wrote.

    Raises: ConfigError if a class or a field no longer exists, or a value is not of its field's type.
    """
    if isinstance(value, list):
        return tuple(from_json(x) for x in value)
    if not isinstance(value, dict):
        return value
    if "class" not in value:
        return {name: from_json(x) for name, x in value.items()}
    module, _, name = current_path(str(value["class"])).rpartition(".")
    ours = module.split(".")[0] in ("agentic_rl", "experiments")
    check(ours, f"config.json names the class {value['class']}, which is not of this package.")
    try:
        cls = getattr(_module(module), name)
        kinds = {
            f.name: f.type
            for f in dataclasses.fields(cls)
            if inspect.isclass(f.type) and issubclass(f.type, tuple)
        }
        fields = {k: from_json(v) for k, v in value.items() if k != "class"}
        fields = {k: kinds[k](v) if k in kinds else v for k, v in fields.items()}
        _check_types(cls, fields)
        return cls(**fields)
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"config.json was written by another version of this package ({error}); use that version."
        ) from None


def _check_types(cls: type, fields: dict[str, Any]) -> None:
    for field in (field for field in dataclasses.fields(cls) if field.name in fields):
        value, of = fields[field.name], kind(field.type)
        sentence = f"config.json has {value!r} where the {field.name} of {cls.__name__} is of the kind {getattr(of, '__name__', of)}"
        check(_fits(value, of), f"{sentence}; put config.json back from a copy.")


def _fits(value: Any, of: Any) -> bool:
    """Can `value`, read from a file, be that of a field of this kind? A union is left to the class itself."""
    origin = get_origin(of) or of
    if origin is Literal:
        return value in get_args(of)
    if origin is Any:  # a part that can be swapped, or a mixture of them
        some = list(value.values()) if isinstance(value, dict) else [value]
        return bool(some) and all(map(dataclasses.is_dataclass, some))
    if origin in (int, float):
        return isinstance(value, int if origin is int else (int, float)) and not isinstance(
            value, bool
        )
    return (
        isinstance(value, origin) if inspect.isclass(origin) and origin is not UnionType else True
    )


def _module(name: str) -> ModuleType:
    """Returns the module that defines a stored config's class.

    Raises: ImportError if there is none; ConfigError if its file is broken.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise
    except Exception as error:
        raise ConfigError(
            f"config.json names a class of {name}, but {registry.sentence(name, error)}"
        ) from None
