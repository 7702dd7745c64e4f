"""Under which name TensorBoard shows each metric: a group, a slash, the metric. metrics.jsonl keeps the bare names.

TensorBoard sorts the groups by name and opens the first two, so that what one looks for first, success, is repeated in a group of its own.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from agentic_rl.budgets import BUDGET

Row = dict[str, Any]  # a step, a time, and by metric a number or a list of one number per seed

GROUPS = {
    "credit": (
        "credit_mean", "credit_std", "explained_variance", "value_loss", "zero_variance_groups",
        "kept", "kept_episodes", "no_gradient",
    ),
    "budget": BUDGET,
    "time": ("seconds",),
}  # fmt: skip
EVALUATION = "eval_"  # what begins so was measured on unseen problems: group "eval"
DEFAULT = "train"  # the group of all other metrics, which are means over the episodes of an update
FIRST = {
    "eval_success": "at_a_glance/success",
    "success": "at_a_glance/success_in_training",
    "eval_return": "at_a_glance/total_return",
}
RATES = {"env_steps": "time/env_steps_per_second", "trained_tokens": "time/trained_tokens_per_second"}  # over all seeds
TIMED = 1.0  # seconds: the rows of a chunk are written at once, so that only a longer time tells how fast a run goes


def tag(metric: str) -> str:
    """Returns the metric's name in TensorBoard. Of a mixture's task, "task/metric", the metric decides.

    >>> tag("eval_success"), tag("loss"), tag("credit_std"), tag("running_sum/credit_std"), tag("eval_running_sum/success")
    ('eval/success', 'train/loss', 'credit/credit_std', 'credit/running_sum/credit_std', 'eval/running_sum/success')
    """
    if metric.startswith(EVALUATION):
        return f"eval/{metric.removeprefix(EVALUATION)}"
    name = metric.rpartition("/")[2]
    group = next((group for group, metrics in GROUPS.items() if name in metrics), DEFAULT)
    return f"{group}/{metric}"


def scalars(row: Row) -> Iterator[tuple[str, int | float | list[int | float]]]:
    """Yields the tag and the value of each of a row's metrics.

    >>> list(scalars({"step": 1, "time": 0.0, "loss": 0.5, "eval_success": [0.0, 1.0]}))
    [('train/loss', 0.5), ('eval/success', [0.0, 1.0]), ('at_a_glance/success', [0.0, 1.0])]
    """
    for metric, value in row.items():
        if metric not in ("step", "time"):
            yield tag(metric), value
            if metric in FIRST:
                yield FIRST[metric], value


class Clock:
    """Measures by the rows' times how fast a run goes."""

    def __init__(self):
        self._since: Row | None = None

    def scalars(self, row: Row) -> dict[str, float]:
        """Returns seconds per update and what was done per second since the row that was measured last; nothing before TIMED is over."""
        since, self._since = self._since, self._since or row
        if since is None or row["time"] - since["time"] < TIMED or row["step"] <= since["step"]:
            return {}
        self._since, seconds = row, row["time"] - since["time"]
        rates = {
            name: (np.sum(row[metric]) - np.sum(since[metric])) / seconds
            for metric, name in RATES.items()
            if metric in row and metric in since
        }
        return {"time/seconds_per_update": seconds / (row["step"] - since["step"])} | {name: float(x) for name, x in rates.items()}
