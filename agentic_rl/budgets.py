"""What a run has cost so far: steps, tokens, labels and floating-point operations, exactly."""

from typing import Any

import numpy as np

from agentic_rl.config import check

BUDGET = ("env_steps", "generated_tokens", "trained_tokens", "expert_labels", "flops")


class Spent(dict):
    """The budgets so far, each a list over seeds of exact integers (FLOPs: floats)."""

    @staticmethod
    def nothing(seeds: int) -> "Spent":
        """Returns what a run of so many seeds has cost before it begins: zeros."""
        return Spent({name: [0] * seeds for name in BUDGET})

    @staticmethod
    def of_arrays(arrays: dict[str, np.ndarray]) -> "Spent":
        """Returns the budgets that `arrays` made arrays of."""
        return Spent({name: arrays[name].tolist() for name in BUDGET})

    @staticmethod
    def of_row(row: dict[str, Any], seeds: int) -> "Spent":
        """Returns what the first `seeds` seeds had cost when the row was logged.

        Raises: ConfigError if the row does not say.
        """
        missing = [name for name in BUDGET if not isinstance(row.get(name), list)]
        what = f"The row of update {row['step']} in metrics.jsonl lacks {', '.join(missing)}"
        check(not missing, f"{what}; put that file back from a copy, or train in a new directory.")
        return Spent({name: row[name][:seeds] for name in BUDGET})

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the budgets as arrays of 64 bits, which a checkpoint can hold."""
        return {name: np.array(self[name], np.float64 if name == "flops" else np.int64) for name in BUDGET}

    def add(self, log: dict[str, np.ndarray], index: int) -> None:
        """Adds what update `index` of a chunk cost."""
        for name in BUDGET:
            number = float if name == "flops" else int
            self[name] = [total + number(x) for total, x in zip(self[name], log[name][:, index])]
