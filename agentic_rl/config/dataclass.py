"""Classes whose fields are settings: frozen dataclasses that refuse numbers outside of their ranges, and pytrees for jax.

Float fields (and nested configs) are pytree data, so one compiled program serves a sweep over learning rates and lambdas; all
other fields are static.
"""

import dataclasses
import inspect
from typing import get_origin

import jax

from agentic_rl.config.ranges import ConfigError, check_ranges, kind

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
        raise TypeError(
            f"The types of {cls.__name__}'s fields are strings; leave out `from __future__ import annotations` in its file."
        )
    return cls


def config(cls: type) -> type:
    """Returns the class as a frozen, hashable dataclass and pytree: floats and nested configs are leaves, the rest is static."""
    cls = checked(cls)
    kinds = {f.name: kind(f.type) for f in dataclasses.fields(cls)}
    static = [
        name
        for name, of in kinds.items()
        if get_origin(of) or (inspect.isclass(of) and issubclass(of, STATIC))
    ]
    data = [name for name in kinds if name not in static]

    def unflatten(aux, leaves):
        new = object.__new__(
            cls
        )  # not through __init__: its range checks are for numbers, not for tracers
        for name, value in zip(static + data, (*aux, *leaves)):
            object.__setattr__(new, name, value)
        return new

    jax.tree_util.register_pytree_with_keys(
        cls,
        lambda x: (
            [(jax.tree_util.GetAttrKey(n), getattr(x, n)) for n in data],
            tuple(getattr(x, n) for n in static),
        ),
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
