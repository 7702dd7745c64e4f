"""The predictions about supervised and reinforcement learning, judged by rules stated before."""

from functools import partial

import numpy as np
from jaxtyping import Float

from experiments.reports.stats import Record, distinct, scores, select
from experiments.reports.verdicts import Verdict, above_zero, near_zero

FROM_REWARDS = ("reinforce", "rloo", "grpo", "ppo")
COMPOUNDING = "cloning's errors compound at a constant rate"
FORETOLD = "sft's success at 2x minus (its per-turn accuracy at 1x)^decisions"
Scores = Float[np.ndarray, " seeds"]


def judge(results: list[Record], task: str) -> list[Verdict]:
    """Returns the verdicts on one task, of sampled actions."""
    results = select(results, task=task, mode="sampled")
    compared = distinct(results, "algorithm")
    score = partial(_score, results)
    judged = [
        above_zero(
            f"{task}: cloning's success falls with the horizon",
            "sft at 1x minus at 4x",
            score("sft") - score("sft", 4),
        )
    ]
    if score("sft", 2, "decisions").mean() > score("sft", 1, "decisions").mean():
        judged.append(_judge_compounding(results, task))
    for name in FROM_REWARDS:
        if name in compared:
            judged.append(
                above_zero(
                    f"{task}: {name} lifts the warm start, with rewards only",
                    f"{name} minus the warm start",
                    score(name) - score("warm_start"),
                )
            )
    if "grpo" in compared:
        judged += _judge_repair(results, task)
    if "dagger" in compared:
        judged.append(_judge_labels(results, task))
    return judged


def _score(results: list[Record], name: str, horizon: int = 1, column: str = "success") -> Scores:
    return scores(select(results, algorithm=name, horizon=horizon), column)[0]


def _judge_compounding(results: list[Record], task: str) -> Verdict:
    """Judges whether success is accuracy to the power of the number of decisions."""
    accuracy = _score(results, "sft", column="per_turn")
    foretold = accuracy ** _score(results, "sft", 2, "decisions")
    return near_zero(
        f"{task}: {COMPOUNDING}",
        FORETOLD,
        _score(results, "sft", 2) - foretold,
        margin=0.1,
        more=f"foretold {foretold.mean():.3f}",
    )


def _judge_repair(results: list[Record], task: str) -> list[Verdict]:
    """Judges whether GRPO ends above cloning, at the trained length and at 4 times that."""
    score = partial(_score, results)
    return [
        above_zero(
            f"{task}: RL repairs what cloning leaves",
            "grpo minus sft",
            score("grpo") - score("sft"),
        ),
        above_zero(
            f"{task}: the repair lasts at 4x the trained horizon",
            "grpo minus sft at 4x",
            score("grpo", 4) - score("sft", 4),
        ),
    ]


def _judge_labels(results: list[Record], task: str) -> Verdict:
    """Judges whether DAgger ends above cloning, and states what it pays."""
    labels = partial(_score, results, column="expert_labels")
    paid = (labels("dagger") - labels("sft")).mean()
    return above_zero(
        f"{task}: DAgger repairs it too, and pays in labels",
        "dagger minus sft",
        _score(results, "dagger") - _score(results, "sft"),
        f"It paid {paid:,.0f} more expert labels.",
    )
