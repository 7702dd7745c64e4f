"""Describes a run before it begins: its config, its size, its episodes and its memory."""

from typing import Any

from agentic_rl.policy import transformer
from agentic_rl.policy.episode_pass import sequences_at_once
from agentic_rl.training.run import Run
from agentic_rl.types import Spec, parts
from experiments.reports.display_names import quantity


def describe(run: Run) -> str:
    """Returns the size, the episodes and the memory of a run, in a line each."""
    algorithm, num_params = run.algorithm, transformer.num_params(run.policy)
    episodes = [
        f"{name or 'episode'}: {describe_episode(part.spec)}"
        for name, part in parts(run.task).items()
    ]
    sequences = quantity(algorithm.problems * algorithm.attempts, "episode")
    problems = quantity(algorithm.problems, "problem")
    attempts = quantity(algorithm.attempts, "attempt")
    lines = [
        f"policy: {num_params:,} parameters, {run.policy.context} context",
        *episodes,
        f"update: {sequences} ({problems} x {attempts}), {quantity(run.seeds, 'seed')}",
        f"memory: about {estimate_megabytes(run):,.0f} MB for weights, optimizer, cache and "
        "activations",
    ]
    return "\n".join(lines)


def estimate_megabytes(run: Run) -> float:
    """Returns a rough estimate of the memory that a run takes, in MB."""
    policy, algorithm = run.policy, run.algorithm
    length = max(part.spec.context_length for part in parts(run.task).values())
    sequences = algorithm.problems * algorithm.attempts
    cache = 2 * policy.layers * sequences * length * policy.width
    per_token = policy.layers * (12 * policy.width + 4 * policy.mlp)
    at_once = sequences_at_once(length, sequences, run.micro_batch)
    activations = at_once * length * per_token
    # Weights, gradient and two moments, and what else the algorithm keeps.
    copies = (4 + algorithm.reads_reference + (algorithm.refresh > 1)) * run.seeds
    return 4 * (transformer.num_params(policy) * copies + cache + activations) / 1e6


def describe_episode(spec: Spec) -> str:
    """Returns the number of tokens of an episode, and what they are."""
    turns = quantity(spec.num_turns, "turn")
    per_turn = f"{spec.observation_length} + {spec.action_length}"
    return f"{spec.context_length} tokens ({spec.prompt_length} of prompt, {turns} of {per_turn})"


def without_data(stored: Any) -> Any:
    """Returns a stored config in which a user's own questions and answers are only counted.

    >>> without_data({"seed": 0, "task": {"pairs": [["1+1=", "2"]] * 100}})
    {'seed': 0, 'task': {'pairs': '100 pairs'}}
    """
    if not isinstance(stored, dict):
        return stored
    return {
        name: quantity(len(value), "pair") if name == "pairs" else without_data(value)
        for name, value in stored.items()
    }
