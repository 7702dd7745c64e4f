"""The answer of the comparison of supervised and reinforcement learning, made from its records."""

from experiments.reports.display_names import words
from experiments.reports.stats import Record, distinct, scores, select

FROM_REWARDS = ("rft", "reinforce", "rloo", "grpo", "ppo")


def answer(results: list[Record]) -> list[str]:
    """Returns at most three sentences: on cloning, on rewards, and on the expert's labels."""
    compared, longest = distinct(results, "algorithm"), max(distinct(results, "horizon"))
    sentences = [_cloning(results, longest)]
    if any(name in compared for name in FROM_REWARDS):
        sentences.append(_rewards(results, longest))
    if "dagger" in compared:
        sentences.append(_labels(results))
    return sentences


def greedy(results: list[Record]) -> str:
    """Returns why greedy actions may succeed where sampled ones do not.

    The example is the warm start, on the task where the two differ most.
    """
    success = {}
    for name in distinct(results, "task"):
        success[name] = [
            _mean(results, name, "warm_start", mode=mode) for mode in ("sampled", "greedy")
        ]
    task = max(success, key=lambda name: success[name][1] - success[name][0])
    sampled, likeliest = success[task]
    start = select(results, task=task, algorithm="warm_start", horizon=1, mode="sampled")
    accuracy, turns = (scores(start, column).mean() for column in ("per_turn", "decisions"))
    example = (
        f"The warm start on {words(task)} is right with a probability of {accuracy:.2f} a turn, "
        f"over {turns:g} turns: sampled it succeeds in {sampled:.0%} of the episodes, "
        f"greedy in {likeliest:.0%}."
    )
    return (
        "The same policies, taking their likeliest action instead of sampling. The likeliest "
        "action is often right although its probability is low: if each of T turns is right with "
        "probability p, sampling succeeds in pᵀ of the episodes, while greedy acting succeeds in "
        f"every one whose right actions are the likeliest. {example} "
        "Training and all other numbers here are about sampled actions."
    )


def _mean(
    results: list[Record],
    task: str,
    name: str,
    horizon: int = 1,
    mode: str = "sampled",
    column: str = "success",
) -> float:
    own = select(results, task=task, algorithm=name, horizon=horizon, mode=mode)
    return float(scores(own, column).mean())


def _list(parts: list[str]) -> str:
    """Returns the parts as a list in words.

    >>> _list(["a"]), _list(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _cloning(results: list[Record], longest: int) -> str:
    each = []
    for task in distinct(results, "task"):
        trained, longer = _mean(results, task, "sft"), _mean(results, task, "sft", longest)
        at_length = f"{longer:.0%} at {longest} times the length"
        each.append(f"{trained:.0%} of the episodes on {words(task)} ({at_length})")
    return f"Cloning a few fixed demonstrations (SFT) succeeds in {_list(each)}."


def _rewards(results: list[Record], longest: int) -> str:
    compared = [name for name in distinct(results, "algorithm") if name in FROM_REWARDS]
    each = []
    for task in distinct(results, "task"):
        success = {name: _mean(results, task, name) for name in compared}
        best = max(success, key=success.get)
        start, longer = _mean(results, task, "warm_start"), _mean(results, task, best, longest)
        at_length = f"{longer:.0%} at {longest} times the length"
        each.append(
            f"from {start:.0%} to {success[best]:.0%} on {words(task)} ({words(best)}; {at_length})"
        )
    lead = "Learning from rewards alone, the best algorithm of each task takes the warm start"
    return f"{lead} {_list(each)}."


def _labels(results: list[Record]) -> str:
    success, extra = [], []
    for task in distinct(results, "task"):
        success.append(f"{_mean(results, task, 'dagger'):.0%}")
        labels = [_mean(results, task, name, column="expert_labels") for name in ("dagger", "sft")]
        extra.append(labels[0] - labels[1])
    respectively = ", in the same order" * (len(success) > 1)
    lead = "The expert's labels on the learner's own episodes (DAgger) bring"
    cost = f"cost at least {min(extra):,.0f} labels more"
    return f"{lead} {_list(success)}{respectively}, and {cost}."
