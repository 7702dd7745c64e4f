"""Sentences about one episode and the numbers of its tokens."""

import numpy as np

from agentic_rl.algorithms import Algorithm
from agentic_rl.exact.true_advantage import Truth
from agentic_rl.rewards import Outcome
from agentic_rl.rollout.actors import Expert
from agentic_rl.types import Environment, Trajectory
from experiments.reports.config_names import part_name
from experiments.reports.display_names import quantity


def describe_episode(task: Environment, group: Trajectory, problem: int, episode: int) -> str:
    """Returns the prompt, how the episode ended, and the returns of all attempts.

    Args:
      task: writes the prompt as text.
      group: the attempts [1, G, ...] at the problem.
      problem: its number in the test split.
      episode: which of the attempts this is.
    """
    returns = [round(float(x), 3) for x in group.reward[0].sum(-1)]
    outcome = "success" if group.success[0, episode] else "failure"
    facts = [
        f"{outcome}, return {returns[episode]}",
        f"attempt {episode} at problem {problem} of the test split",
    ]
    if len(returns) > 1:
        facts.append(f"returns of all attempts: {' '.join(map(str, returns))}")
    return f"{task.render_prompt(np.asarray(group.prompt[0, 0]))} ({'; '.join(facts)})"


def notes(
    algorithm: Algorithm, truth: Truth, is_kept: bool, attempts: int, temperature: float
) -> list[str]:
    """Returns what a reader must know about the numbers, a sentence each.

    Args:
      algorithm: of the run.
      truth: the true values of the episode's tokens.
      is_kept: whether the algorithm's selection would train on the episode.
      attempts: number of episodes that the credit was computed on.
      temperature: at which they were drawn.
    """
    notes = credit_notes(algorithm, is_kept, attempts)
    if algorithm.values.has_values:
        notes.append(f"value: before the token, from this source: {part_name(algorithm.values)}")
    notes.append(
        f"true value: before the token; true advantage: what the token added to it; {truth.method}"
    )
    if truth.error.any():
        notes.append(
            "true advantage: ± is its standard error; all that a turn's tokens added stands at "
            "the last of them"
        )
    if algorithm.reward != Outcome():
        notes.append(
            f"reward and credit: with the run's own reward ({part_name(algorithm.reward)}); the "
            "truth is about the task's own"
        )
    if temperature != 1:
        notes.append(
            f"the episodes were drawn at temperature {temperature:g}; the truth is about the "
            "policy at 1"
        )
    return notes


def credit_notes(algorithm: Algorithm, is_kept: bool, attempts: int) -> list[str]:
    """Returns how the credit was computed, and how that differs from training."""
    notes = [
        f"credit: {part_name(algorithm.credit)}, computed on {quantity(attempts, 'attempt')} "
        "alone; in training on a whole batch"
    ]
    if isinstance(algorithm.actor, Expert):
        notes.append(
            "credit: the run trains on its expert's episodes; this one is the policy's own, "
            "credited as if it were trained on"
        )
    if algorithm.labels == "expert":
        notes.append(
            "credit: the run trains on the expert's labels of these turns; here its own tokens "
            "are credited in their place"
        )
    if not is_kept:
        selection = part_name(algorithm.selection)
        notes.append(f"credit: 0, because the selection ({selection}) leaves this episode out")
    return notes
