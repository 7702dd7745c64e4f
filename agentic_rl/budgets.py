"""What a run has cost so far: steps, tokens, labels and floating-point operations, exactly."""

import numpy as np

BUDGET = ("env_steps", "generated_tokens", "trained_tokens", "expert_labels", "flops")


class Budget(dict):
    """The budgets so far, each a list over seeds of exact integers (FLOPs: floats)."""

    @staticmethod
    def nothing(seeds: int) -> "Budget":
        """Returns what a run of so many seeds has cost before it begins: zeros."""
        return Budget({name: [0] * seeds for name in BUDGET})

    @staticmethod
    def of_arrays(arrays: dict[str, np.ndarray]) -> "Budget":
        """Returns the budgets that `arrays` made arrays of."""
        return Budget({name: arrays[name].tolist() for name in BUDGET})

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the budgets as arrays of 64 bits, which a checkpoint can hold."""
        return {
            name: np.array(self[name], np.float64 if name == "flops" else np.int64)
            for name in BUDGET
        }

    def add(self, log: dict[str, np.ndarray], index: int) -> None:
        """Adds what update `index` of a chunk cost."""
        for name in BUDGET:
            number = float if name == "flops" else int
            self[name] = [total + number(x) for total, x in zip(self[name], log[name][:, index])]
