"""The name under which TensorBoard shows each metric: a group, a slash, the metric.

metrics.jsonl keeps the bare names. TensorBoard sorts the groups by name and opens the first two.
So success, which one looks for first, is repeated in a group of its own, "at_a_glance".
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from agentic_rl.budgets import BUDGET

Entry = dict[str, Any]  # a step, a time, and by metric a number or a list of one number per seed

GROUPS = {
    "credit": (
        "credit_mean",
        "credit_std",
        "explained_variance",
        "value_loss",
        "zero_variance_groups",
        "kept",
        "kept_episodes",
        "no_gradient",
    ),
    "budget": BUDGET,
    "time": ("seconds",),
}
EVALUATION = "eval_"  # begins the metrics measured on unseen problems, which are the group "eval"
DEFAULT = "train"  # the group of all other metrics, which are means over the episodes of an update
FIRST = {
    "eval_success": "at_a_glance/success",
    "success": "at_a_glance/success_in_training",
    "eval_return": "at_a_glance/total_return",
}
RATES = {  # over all seeds
    "env_steps": "time/env_steps_per_second",
    "trained_tokens": "time/trained_tokens_per_second",
}
MIN_SECONDS = 1.0  # between two entries that tell the speed: those of one chunk are written at once


def tag(metric: str) -> str:
    """Returns the metric's name in TensorBoard; for "task/metric" the metric decides the group.

    >>> tag("eval_success"), tag("loss"), tag("running_sum/credit_std")
    ('eval/success', 'train/loss', 'credit/running_sum/credit_std')
    """
    if metric.startswith(EVALUATION):
        return f"eval/{metric.removeprefix(EVALUATION)}"
    name = metric.rpartition("/")[2]
    group = next((group for group, metrics in GROUPS.items() if name in metrics), DEFAULT)
    return f"{group}/{metric}"


def scalars(entry: Entry) -> Iterator[tuple[str, int | float | list[int | float]]]:
    """Yields the tag and the value of each of an entry's metrics.

    >>> list(scalars({"step": 1, "time": 0.0, "loss": 0.5, "eval_success": [0.0, 1.0]}))
    [('train/loss', 0.5), ('eval/success', [0.0, 1.0]), ('at_a_glance/success', [0.0, 1.0])]
    """
    for metric, value in entry.items():
        if metric not in ("step", "time"):
            yield tag(metric), value
            if metric in FIRST:
                yield FIRST[metric], value


class Clock:
    """Measures how fast a run goes by the times of its entries."""

    def __init__(self):
        self._since: Entry | None = None

    def scalars(self, entry: Entry) -> dict[str, float]:
        """Returns the speed since the last measured entry, by tag.

        It is empty until MIN_SECONDS have passed since that entry.
        """
        since, self._since = self._since, self._since or entry
        if since is None or entry["step"] <= since["step"]:
            return {}
        seconds = entry["time"] - since["time"]
        if seconds < MIN_SECONDS:
            return {}
        self._since = entry
        rates = {"time/seconds_per_update": seconds / (entry["step"] - since["step"])}
        for metric in RATES:
            if metric in entry and metric in since:
                amount = np.sum(entry[metric]) - np.sum(since[metric])
                rates[RATES[metric]] = float(amount / seconds)
        return rates
