"""Finds the fields of a config that change no outcome."""

from collections.abc import Callable, Iterator
from dataclasses import Field, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin

import jax
import jax.numpy as jnp
import numpy as np

from agentic_rl.config import ConfigError
from agentic_rl.config.ranges import kind

# What to try instead of a value, where the rule of its type would go unseen.
INSTEAD = {
    "optimizer.max_grad_norm": [1e-2],
    "optimizer.warmup": [10],
    "values.clip": [1e-4],
    "surrogate.clip_low": [1e-3, 0.5],
    "surrogate.clip_high": [1e-3, 0.5],
    "surrogate.bound": [1.1],
    "surrogate.max_log_ratio": [1e-3],
    "kl.clamp": [1e-4],
    "reward.clamp": [1e-4],
    "credit.eps": [1.0],
    "credit.ddof": [0],
    "problems": [8, 4],
    "attempts": [2, 4],
    "minibatches": [4],
    "selection.max_rounds": [1],
    "refresh": [2],
}
# Promises to change nothing, which the tests of exact values check.
SAVES_MEMORY = {"values.capacity", "values.chunk"}
NAMES = {"name"}  # under which a table shows the config
# A lag is refused where the policy does not act, several attempts where all would be alike.
MAY_REFUSE = {"refresh", "attempts"}


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Field, Any]]:
    """Yields path, field and value of everything in a config that is not a config itself."""
    for field in fields(value):
        inner, path = getattr(value, field.name), prefix + field.name
        yield from leaves(inner, f"{path}.") if is_dataclass(inner) else [(path, field, inner)]


def alternatives(path: str, field: Field, value: Any) -> list[Any]:
    """Returns other values to try."""
    if path in INSTEAD:
        return INSTEAD[path]
    if get_origin(field.type) is Literal:
        return [option for option in get_args(field.type) if option != value]
    if field.type is bool:
        return [not value]
    if isinstance(value, tuple):
        return [type(value)(value[: len(value) // 2])]
    return {
        int: lambda: [value + 1, value * 2, value + 8],
        float: lambda: [value * 0.5, value + 0.1],
        str: lambda: ["other"],
    }[kind(field.type)]()


def changed(value: Any, path: str, new: Any) -> Any | None:
    """Returns the config with another value at `path`, or None if it refuses that."""
    name, _, rest = path.partition(".")
    try:
        new = changed(getattr(value, name), rest, new) if rest else new
        return None if new is None else replace(value, **{name: new})
    except ConfigError:
        return None


def others(base: Any, path: str | None = None) -> Iterator[tuple[str, Any]]:
    """Yields path and config for each alternative that is not refused (at `path`, if given)."""
    for name, field, value in leaves(base):
        for new in alternatives(name, field, value) if path in (None, name) else []:
            other = changed(base, name, new)
            yield from [] if other is None else [(name, other)]


def differ(a: Any, b: Any) -> bool:
    """Returns whether two outcomes differ by more than rounding."""
    if jax.tree.map(jnp.shape, a) != jax.tree.map(jnp.shape, b):
        return True
    return any(
        not np.allclose(x, y, rtol=0, atol=1e-5)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
    )


def silent(
    outcome: Callable[[Any], Any], base: Any, *more: Any, only: Callable = lambda field: True
) -> list[str]:
    """Returns a sentence for each field of `base` that changes no outcome.

    The field is tried in `base` and in the configs in `more`. An algorithm may refuse all other
    options of a switch, whose flag is then not silent. But a number whose every change is refused
    should not be there.
    """
    names = [name for name, field, _ in leaves(base) if only(field)]
    return [
        f"{type(base).__name__}.{name} changes nothing: remove it, or give tests/silent_fields.py"
        " a value at which it changes something."
        for name in names
        if name not in SAVES_MEMORY | NAMES and is_silent(outcome, name, base, *more)
    ]


def is_silent(outcome: Callable[[Any], Any], name: str, base: Any, *more: Any) -> bool:
    """Returns whether no other value of a field changes the outcome."""
    tried = [(config, other) for config in (base, *more) for _, other in others(config, name)]
    if not tried:
        (field,) = [field for path, field, _ in leaves(base) if path == name]
        return not (get_origin(field.type) is Literal or name in MAY_REFUSE)
    return not any(differ(outcome(config), outcome(other)) for config, other in tried)
