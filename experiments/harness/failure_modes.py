"""How agents fail at a to-do list: the failure modes that were reported of BabyAGI and AutoGPT, counted in their episodes."""

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from agentic_rl import tokens
from agentic_rl.envs.todo import Todo
from agentic_rl.types import Trajectory
from experiments.reports.stats import Record

MODES = {
    "created": "items that BabyAGI's later lists added, for each item finished (task explosion)",
    "loops": "share of actions that were tried before in the same state of the work",
    "drift": "share of actions on items that the goal does not need",
    "early error": "failure after an error in the first half of the actions, minus failure without",
    "premature": "share of episodes that end by themselves before the goal is done",
    "late": "share of episodes whose goal is done and that never say so",
}


def modes(task: Todo, played: Trajectory) -> dict[str, Float[np.ndarray, " S"]]:
    """The failure modes of each seed's episodes; NaN where there is nothing to count."""
    each = [
        modes_of_one(task, jax.tree.map(lambda x: np.asarray(x)[s, :, 0], played))
        for s in range(len(played.success))
    ]
    return {name: np.array([one[name] for one in each]) for name in MODES}


def modes_of_one(task: Todo, played: Trajectory) -> Record:
    """Of episodes [N, T, ...]."""
    world = getattr(played.state, "inner", played.state)
    lists = getattr(played.state, "lists", world.turn == 0)
    plays = played.mask.any(-1)
    acts, last = plays & ~lists, plays.sum(1) - 1
    at_last = lambda x: x[np.arange(len(last)), last]  # noqa: E731
    created = getattr(played.state, "created", None)
    stops = at_last(world.turn + acts) < task.spec.num_turns
    done = np.take_along_axis(at_last(world.work), world.order[:, 0, -1:], 1)[:, 0] >= task.steps
    return {
        "created": np.nan if created is None else ratio(at_last(created), at_last(world.finished)),
        "loops": ratio(repeats(played.action, world.work, acts), acts),
        "drift": ratio(off_goal(task, played.action, world.needed) & acts, acts),
        "early error": after_early_error(world.status == tokens.ERR, plays, played.success),
        "premature": float((stops & ~played.success).mean()), "late": float((~stops & done & ~played.success).mean()),
    }  # fmt: skip


def ratio(some: np.ndarray, all_: np.ndarray) -> float:
    """Of their sums; NaN of nothing."""
    return float(some.sum() / all_.sum()) if all_.sum() else np.nan


def repeats(
    action: Int[np.ndarray, "N T A"], work: Int[np.ndarray, "N T M"], acts: Bool[np.ndarray, "N T"]
) -> Bool[np.ndarray, "N T"]:
    """Where an action was taken before in the same state of the work, so that it is known to be of no use."""
    same = lambda x: (x[:, :, None] == x[:, None]).all(-1)  # noqa: E731
    earlier = np.tril(np.ones((acts.shape[1],) * 2, bool), -1)
    return (same(action) & same(work) & acts[:, :, None] & acts[:, None] & earlier).any(2)


def off_goal(
    task: Todo, action: Int[np.ndarray, "N T A"], wanted: Bool[np.ndarray, "N T M"]
) -> Bool[np.ndarray, "N T"]:
    """Where the item worked on is none that the goal needs."""
    item = action[..., 0] - tokens.ENTITY
    is_item = (item >= 0) & (item < task.num_items)
    return (
        is_item
        & ~np.take_along_axis(wanted, np.clip(item, 0, task.num_items - 1)[..., None], -1)[..., 0]
    )


def after_early_error(
    error: Bool[np.ndarray, "N T"], plays: Bool[np.ndarray, "N T"], success: Bool[np.ndarray, " N"]
) -> float:
    """How much likelier failure is after an error in an episode's first half; NaN if all episodes have one, or none has."""
    first_half = np.arange(plays.shape[1]) <= plays.sum(1, keepdims=True) // 2
    early = (error & plays & first_half).any(1)
    return (
        float((~success[early]).mean() - (~success[~early]).mean())
        if 0 < early.sum() < len(early)
        else np.nan
    )
