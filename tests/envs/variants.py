"""Lists the tasks of the folder at several settings, for the tests that every task must pass."""

from dataclasses import fields, replace
from typing import Literal, get_args, get_origin

import pytest

import agentic_rl.envs
from agentic_rl.config import named
from agentic_rl.envs.chain_pit import ChainPit
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.envs.sort_digits import SortDigits

# Random actions succeed within a few thousand episodes, and only key decisions change the return.
SMALL = {
    "frozen_lake": dict(size=3, num_turns=5, hole=0.4),
    "graph_nav": dict(num_nodes=6, num_turns=5),
    "path_star": dict(arms=2, length=2, num_labels=5),
    "deep_sea": dict(size=4),
    "hanoi": dict(num_disks=2, slack=1),
    "sokoban": dict(size=5, num_walls=1, num_turns=8),
    "todo": dict(num_items=3),
    "tool_chase": dict(num_entries=3, num_turns=5),
    "memorize": dict(num_digits=2, base=3),
    "sort_digits": dict(num_digits=2, base=3),
    "running_sum": dict(num_turns=2, modulus=3),
    "chain_pit": dict(num_turns=4, num_values=2),
    "key_door": dict(delay=2, apple_reward=0.0),
    "points": dict(num_turns=5),
    "compose": dict(length=2),
    "fix_it": dict(num_digits=2, modulus=3),
}
COMBINED = [  # settings that change two knobs at once
    SortDigits(num_digits=2, base=3, answer_length=4, reward="exact"),
    KeyDoor(delay=1, num_keys=2, apple_reward=0.0),
]
COMBINED += [
    ChainPit(num_turns=6, num_values=2, mode=mode, recovery_turns=3, reward="per_step_cost")
    for mode in ("drift", "unseen_recover", "demoed_recover")
]


def variants(task):
    """Returns `task` with one mode or switch changed, once for each other value of it."""
    options = {f.name: get_args(f.type) for f in fields(task) if get_origin(f.type) is Literal}
    options |= {f.name: (True, False) for f in fields(task) if f.type is bool}
    changed = []
    for name, values in options.items():
        others = [value for value in values if value != getattr(task, name)]
        changed += [replace(task, **{name: value}) for value in others]
    return changed


def label(task):
    """Returns a test's name for `task`: what differs from the defaults."""
    changed = [f for f in fields(task) if getattr(task, f.name) != f.default]
    settings = [f"{f.name}={getattr(task, f.name)}" for f in changed]
    return "-".join([type(task).__name__, *settings])


def _slow(tasks):
    return [pytest.param(task, marks=pytest.mark.slow) for task in tasks]


TASKS = named(agentic_rl.envs)
DEFAULTS = [cls() for cls in TASKS.values()]
SMALLS = [cls(**SMALL.get(name, {})) for name, cls in TASKS.items()]
LARGE = [task for task in DEFAULTS if task not in SMALLS]
MORE = [variant for small in SMALLS for variant in variants(small)] + COMBINED

every_task = pytest.mark.parametrize("task", _slow(LARGE) + SMALLS + _slow(MORE), ids=label)
every_small_task = pytest.mark.parametrize("task", SMALLS + _slow(MORE), ids=label)
