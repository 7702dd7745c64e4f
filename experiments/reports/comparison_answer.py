"""What the comparison of supervised and reinforcement learning says, in sentences made from its records."""

from experiments.reports.display_names import words
from experiments.reports.stats import Record, distinct, scores, select

FROM_REWARDS = ("rft", "reinforce", "rloo", "grpo", "ppo")


def answer(results: list[Record]) -> list[str]:
    """Returns the answer in at most three sentences: what cloning comes to, what rewards add to it, and what the expert's labels do."""
    rows, longest = distinct(results, "algorithm"), max(distinct(results, "horizon"))
    found = [_cloning(results, longest)]
    if any(row in rows for row in FROM_REWARDS):
        found.append(_rewards(results, longest))
    if "dagger" in rows:
        found.append(_labels(results))
    return found


def greedy(results: list[Record]) -> str:
    """Returns why the likeliest actions may succeed where sampled ones do not, with the warm start as the example."""
    modes, tasks = ("sampled", "greedy"), distinct(results, "task")
    ends = {
        task: [_mean(results, task, "warm_start", mode=mode) for mode in modes] for task in tasks
    }
    task = max(tasks, key=lambda name: ends[name][1] - ends[name][0])
    sampled, likeliest = ends[task]
    some = select(results, task=task, algorithm="warm_start", horizon=1, mode="sampled")
    accuracy, turns = (scores(some, column).mean() for column in ("per_turn", "decisions"))
    example = (
        f"The warm start on {words(task)} is right with a probability of {accuracy:.2f} a turn, over {turns:g} turns: sampled it succeeds "
        f"in {sampled:.0%} of the episodes, greedy in {likeliest:.0%}."
    )
    return (
        "The same policies, taking their likeliest action instead of sampling. The likeliest action is often right although its "
        "probability is low: if each of T turns is right with probability p, sampling succeeds in pᵀ of the episodes, while greedy "
        f"acting succeeds in every one whose right actions are the likeliest. {example} "
        "Training and all other numbers here are about sampled actions."
    )


def _mean(
    results: list[Record],
    task: str,
    row: str,
    horizon: int = 1,
    mode: str = "sampled",
    column: str = "success",
) -> float:
    return float(
        scores(select(results, task=task, algorithm=row, horizon=horizon, mode=mode), column).mean()
    )


def _list(parts: list[str]) -> str:
    """
    >>> _list(["a"]), _list(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _cloning(results: list[Record], longest: int) -> str:
    each = []
    for task in distinct(results, "task"):
        trained, longer = _mean(results, task, "sft"), _mean(results, task, "sft", longest)
        each.append(
            f"{trained:.0%} of the episodes on {words(task)} ({longer:.0%} at {longest} times the length)"
        )
    return f"Cloning a few fixed demonstrations (SFT) succeeds in {_list(each)}."


def _rewards(results: list[Record], longest: int) -> str:
    rows, each = [row for row in distinct(results, "algorithm") if row in FROM_REWARDS], []
    for task in distinct(results, "task"):
        best = max(rows, key=lambda row: _mean(results, task, row))
        each.append(
            f"from {_mean(results, task, 'warm_start'):.0%} to {_mean(results, task, best):.0%} on {words(task)} "
            f"({words(best)}; {_mean(results, task, best, longest):.0%} at {longest} times the length)"
        )
    return f"Learning from rewards alone, the best algorithm of each task takes the warm start {_list(each)}."


def _labels(results: list[Record]) -> str:
    ends, more = [], []
    for task in distinct(results, "task"):
        ends.append(f"{_mean(results, task, 'dagger'):.0%}")
        more.append(
            _mean(results, task, "dagger", column="expert_labels")
            - _mean(results, task, "sft", column="expert_labels")
        )
    respectively = ", in the same order" * (len(ends) > 1)
    said = f"The expert's labels on the learner's own episodes (DAgger) bring {_list(ends)}{respectively}"
    return f"{said}, and cost at least {min(more):,.0f} labels more."
