"""Counts, in episodes of a to-do list, the failures that were reported of BabyAGI and AutoGPT."""

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


def measure_failures(task: Todo, episodes: Trajectory) -> dict[str, Float[np.ndarray, " S"]]:
    """Returns each of MODES for every seed; NaN where there is nothing to count.

    Args: episodes: [S, N, 1, T, ...], with states, as `training_study.play_test_episodes` plays.
    """
    by_seed = [
        measure_failures_of_seed(task, jax.tree.map(lambda x: np.asarray(x)[s, :, 0], episodes))
        for s in range(len(episodes.success))
    ]
    return {mode: np.array([measured[mode] for measured in by_seed]) for mode in MODES}


def measure_failures_of_seed(task: Todo, episodes: Trajectory) -> Record:
    """Returns each of MODES for the episodes [N, T, ...] of one seed."""
    state = episodes.state
    work_state = getattr(state, "inner", state)  # what a scaffold wraps
    is_list = getattr(state, "lists", work_state.turn == 0)
    is_played = episodes.mask.any(-1)
    acts, last = is_played & ~is_list, is_played.sum(1) - 1

    def at_last(x):
        return x[np.arange(len(last)), last]

    stops = at_last(work_state.turn + acts) < task.spec.num_turns
    last_item = work_state.order[:, 0, -1:]
    is_done = np.take_along_axis(at_last(work_state.work), last_item, 1)[:, 0] >= task.steps
    fails = ~episodes.success
    drifts = off_goal(task, episodes.action, work_state.needed) & acts
    error = work_state.status == tokens.ERR
    created = np.nan
    if hasattr(state, "created"):
        created = ratio(at_last(state.created), at_last(work_state.finished))
    return {
        "created": created,
        "loops": ratio(repeats(episodes.action, work_state.work, acts), acts),
        "drift": ratio(drifts, acts),
        "early error": after_early_error(error, is_played, episodes.success),
        "premature": float((stops & fails).mean()),
        "late": float((~stops & is_done & fails).mean()),
    }


def ratio(part: np.ndarray, whole: np.ndarray) -> float:
    """Returns the sum of `part` over the sum of `whole`, or NaN if the latter is 0."""
    return float(part.sum() / whole.sum()) if whole.sum() else np.nan


def repeats(
    action: Int[np.ndarray, "N T A"], work: Int[np.ndarray, "N T M"], acts: Bool[np.ndarray, "N T"]
) -> Bool[np.ndarray, "N T"]:
    """Returns where an action is useless: it was taken before in the same state of the work."""

    def same(x):
        return (x[:, :, None] == x[:, None]).all(-1)

    earlier = np.tril(np.ones((acts.shape[1],) * 2, bool), -1)
    return (same(action) & same(work) & acts[:, :, None] & acts[:, None] & earlier).any(2)


def off_goal(
    task: Todo, action: Int[np.ndarray, "N T A"], needed: Bool[np.ndarray, "N T M"]
) -> Bool[np.ndarray, "N T"]:
    """Returns where an action works on an item that the goal does not need."""
    item = action[..., 0] - tokens.ENTITY
    is_item = (item >= 0) & (item < task.num_items)
    index = np.clip(item, 0, task.num_items - 1)[..., None]
    return is_item & ~np.take_along_axis(needed, index, -1)[..., 0]


def after_early_error(
    error: Bool[np.ndarray, "N T"],
    is_played: Bool[np.ndarray, "N T"],
    success: Bool[np.ndarray, " N"],
) -> float:
    """Returns how much likelier failure is after an error in the first half of an episode.

    NaN if all episodes have such an error, or none has.
    """
    first_half = np.arange(is_played.shape[1]) <= is_played.sum(1, keepdims=True) // 2
    early = (error & is_played & first_half).any(1)
    if not 0 < early.sum() < len(early):
        return np.nan
    return float((~success[early]).mean() - (~success[~early]).mean())
