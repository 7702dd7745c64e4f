"""The exact costs of a run so far: steps, tokens, labels and floating-point operations."""

from typing import Any

import numpy as np

from agentic_rl.config import check

BUDGET = ("env_steps", "generated_tokens", "trained_tokens", "expert_labels", "flops")


class Budget(dict):
    """The costs so far by name: a list over seeds of exact integers (of floats for FLOPs)."""

    @staticmethod
    def zero(seeds: int) -> "Budget":
        """Returns the budget of a run of so many seeds before it begins."""
        return Budget({name: [0] * seeds for name in BUDGET})

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> "Budget":
        """Returns the budget that `to_arrays` converted."""
        return Budget({name: arrays[name].tolist() for name in BUDGET})

    @staticmethod
    def from_entry(entry: dict[str, Any], seeds: int) -> "Budget":
        """Returns the costs of the first `seeds` seeds up to an entry of metrics.jsonl.

        Raises: ConfigError if the entry lacks one of them.
        """
        missing = [name for name in BUDGET if not isinstance(entry.get(name), list)]
        check(
            not missing,
            f"The entry of update {entry['step']} in metrics.jsonl lacks {', '.join(missing)};"
            " put that file back from a copy, or train in a new directory.",
        )
        return Budget({name: entry[name][:seeds] for name in BUDGET})

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the costs as arrays [S] of 64 bits, which a checkpoint can hold."""
        dtypes = {name: np.float64 if name == "flops" else np.int64 for name in BUDGET}
        return {name: np.array(self[name], dtypes[name]) for name in BUDGET}

    def add(self, log: dict[str, np.ndarray], index: int) -> None:
        """Adds the costs [S, chunk] of the update `index` of a chunk."""
        for name in BUDGET:
            exact = float if name == "flops" else int
            costs = [exact(x) for x in log[name][:, index]]
            self[name] = [total + cost for total, cost in zip(self[name], costs)]
