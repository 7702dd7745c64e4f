"""Frozen dataclasses whose fields are settings: they refuse numbers out of range and are pytrees.

Float fields and nested configs are pytree data, so that one compiled program serves a sweep over
learning rates or lambdas. All other fields are static.
"""

import dataclasses
import inspect
from typing import Any, get_origin

import jax

from agentic_rl.config.ranges import ConfigError, check_ranges, kind

STATIC = (int, bool, str, tuple)


def checked(cls: type) -> type:
    """Returns the class as a frozen dataclass that refuses numbers outside its fields' ranges."""
    own_checks = getattr(cls, "__post_init__", lambda self: None)

    def __post_init__(self):
        check_ranges(self)
        own_checks(self)

    cls.__post_init__ = __post_init__
    cls = dataclasses.dataclass(frozen=True)(cls)
    if any(isinstance(f.type, str) for f in dataclasses.fields(cls)):
        raise TypeError(
            f"The types of {cls.__name__}'s fields are strings; leave out"
            " `from __future__ import annotations` in its file."
        )
    return cls


def config(cls: type) -> type:
    """Returns the class as a frozen, hashable dataclass that is a pytree.

    Floats and nested configs are its leaves, and the rest is static.
    """
    cls = checked(cls)
    fields = dataclasses.fields(cls)
    static = [f.name for f in fields if _is_static(kind(f.type))]
    data = [f.name for f in fields if f.name not in static]

    def flatten(x):
        return [getattr(x, name) for name in data], tuple(getattr(x, name) for name in static)

    def flatten_with_keys(x):
        leaves, aux = flatten(x)
        return list(zip(map(jax.tree_util.GetAttrKey, data), leaves)), aux

    def unflatten(aux, leaves):
        new = object.__new__(cls)  # skips __init__, whose range checks are not for tracers
        for name, value in zip(static + data, (*aux, *leaves)):
            object.__setattr__(new, name, value)
        return new

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def _is_static(annotation: Any) -> bool:
    if get_origin(annotation):
        return True
    return inspect.isclass(annotation) and issubclass(annotation, STATIC)


def check(condition: bool, sentence: str) -> None:
    """Does nothing if `condition` holds.

    Raises: ConfigError with `sentence`, which says what is wrong and what to do.
    """
    if not condition:
        raise ConfigError(sentence)
