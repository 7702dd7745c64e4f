"""Everything one can choose is a frozen dataclass whose fields are its knobs; this file makes such a class and stores it.

Float fields (and nested configs) are pytree data, so one compiled program serves a sweep over learning rates and lambdas; all
other fields are static. Numbers declare their range with their type (ranges.py). A folder is its own registry: `named` lists the
config classes of a package by their snake_case names.
"""

import dataclasses
import importlib
import inspect
import re
from types import ModuleType, UnionType
from typing import Any, Literal, get_args, get_origin

import jax

from agentic_rl import registry
from agentic_rl.ranges import ConfigError, check_ranges, kind  # noqa: F401

STATIC = (int, bool, str, tuple)


def checked(cls: type) -> type:
    """Returns the class as a frozen dataclass that refuses numbers outside of the ranges that its fields declare."""
    more = getattr(cls, "__post_init__", lambda self: None)

    def __post_init__(self):
        check_ranges(self)
        more(self)

    cls.__post_init__ = __post_init__
    cls = dataclasses.dataclass(frozen=True)(cls)
    strings = [f.name for f in dataclasses.fields(cls) if isinstance(f.type, str)]
    if strings:
        raise TypeError(f"The types of {cls.__name__}'s fields are strings; leave out `from __future__ import annotations` in its file.")
    return cls


def config(cls: type) -> type:
    """Returns the class as a frozen, hashable dataclass and pytree: floats and nested configs are leaves, the rest is static."""
    cls = checked(cls)
    kinds = {f.name: kind(f.type) for f in dataclasses.fields(cls)}
    static = [name for name, of in kinds.items() if get_origin(of) or (inspect.isclass(of) and issubclass(of, STATIC))]
    data = [name for name in kinds if name not in static]

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

    Raises: ConfigError if a class or a field no longer exists, or a value is not of its field's type.
    """
    if isinstance(value, list):
        return tuple(from_json(x) for x in value)
    if not isinstance(value, dict):
        return value
    if "class" not in value:
        return {name: from_json(x) for name, x in value.items()}
    module, _, name = str(value["class"]).rpartition(".")
    ours = module.split(".")[0] in ("agentic_rl", "experiments")
    check(ours, f"config.json names the class {value['class']}, which is not of this package.")
    try:
        cls = getattr(_module(module), name)
        kinds = {f.name: f.type for f in dataclasses.fields(cls) if inspect.isclass(f.type) and issubclass(f.type, tuple)}
        fields = {k: from_json(v) for k, v in value.items() if k != "class"}
        fields = {k: kinds[k](v) if k in kinds else v for k, v in fields.items()}
        _check_types(cls, fields)
        return cls(**fields)
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(f"config.json was written by another version of this package ({error}); use that version.") from None


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
        return isinstance(value, int if origin is int else (int, float)) and not isinstance(value, bool)
    return isinstance(value, origin) if inspect.isclass(origin) and origin is not UnionType else True


def _module(name: str) -> ModuleType:
    """Returns the module that defines a stored config's class.

    Raises: ImportError if there is none; ConfigError if its file is broken.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise
    except Exception as error:
        raise ConfigError(f"config.json names a class of {name}, but {registry.sentence(name, error)}") from None


def snake_case(name: str) -> str:
    """`LeaveOneOut` -> `leave_one_out`; a number of two digits or more is a word.

    >>> snake_case("LeaveOneOut"), snake_case("GAE"), snake_case("AgentsOf2023")
    ('leave_one_out', 'gae', 'agents_of_2023')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[a-z])(?=[0-9]{2})", "_", name).lower()


def named(package: ModuleType) -> registry.Registry:
    """Returns the config classes that a module, or the modules of a folder, define, by snake_case name.

    What cannot be used is left out with a warning: files that cannot be imported, classes that cannot be made without arguments,
    and names that stand for two classes.
    """
    loaded, broken = registry.modules(package)
    found: dict[str, type] = {}
    unusable: dict[str, str] = {}
    for cls in (cls for module in loaded for cls in _classes(module)):
        name = snake_case(cls.__name__)
        said = _clash(name, found[name], cls) if name in found else _lacks_default(cls)
        unusable |= {name: said} if said else {}
        found[name] = cls
    usable = {name: cls for name, cls in found.items() if name not in unusable}
    return registry.Registry(usable, {snake_case(name): said for name, said in broken.items()} | unusable)


def _classes(module: ModuleType) -> list[type]:
    """Returns the public config classes that a module itself defines."""
    found = inspect.getmembers(module, lambda x: inspect.isclass(x) and dataclasses.is_dataclass(x) and x.__module__ == module.__name__)
    return [cls for name, cls in found if not name.startswith("_")]


def _clash(name: str, cls: type, other: type) -> str:
    files = " and ".join(registry.file_of(x.__module__) for x in (cls, other))
    return f"{name} is left out: {files} both define it; rename one of the two."


def _lacks_default(cls: type) -> str:
    """Returns a sentence on the first field that has no default, or nothing if each has one."""
    missing = [f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    where = registry.file_of(cls.__module__)
    return f"{cls.__name__} in {where} is left out: give its field {missing[0]} a default." if missing else ""
