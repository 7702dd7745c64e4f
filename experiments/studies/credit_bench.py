"""How near to the true advantage is each credit, and how good is the gradient that it makes?

    python -m experiments.studies.credit_bench                        # minutes on 2 cores
    python -m experiments.studies.credit_bench --tasks key_door --levels 0.5 --seeds 1  # one cell
    python -m experiments.studies.credit_bench --no-measure           # draws the results again

A policy is cloned until it succeeds about as often as asked. Its value head is then fitted to the
rewards to go of its own episodes. It plays many batches at the same problems, and nothing is
trained. Scored are all credits as they come, and forks, a greedy baseline and the exact values.
Each is compared with the exact advantage of every token and with the exact gradient
(experiments/ground_truth/testbed.py and quality.py). Each rule is a claim of a paper about one of
these numbers, and holds only if it holds in every cell.
"""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import scipy.stats
from matplotlib.figure import Figure

from agentic_rl import credit, envs
from agentic_rl.algorithms import REINFORCE, Algorithm, swap
from agentic_rl.config import named
from agentic_rl.config.ranges import Count, Inside
from agentic_rl.credit.gae import GAE
from agentic_rl.policy import transformer
from agentic_rl.values import NoValue
from agentic_rl.values.critic import Critic
from agentic_rl.values.exact import Exact
from agentic_rl.values.forks import Forks, Greedy
from experiments.cli import console
from experiments.cli.flags import look_up
from experiments.ground_truth import quality, testbed
from experiments.harness import credit_study, study
from experiments.reports.credit_figures import episode, heat_maps, places
from experiments.reports.report import Verdict, outcome
from experiments.reports.stats import Record, distinct, select

MARGIN = 0.25  # by which the expected gradient may miss the true one, as a share of it
RARE = "Fine credit helps more where success is rare than where it is common"
COSINE = "in the mean cosine of a batch's gradient with the true one"
VINE = "4 forks (VinePPO)"
TABLE = {  # columns, and their formats
    "pearson": ".2f",
    "key_accuracy": ".2f",
    "leakage": ".2f",
    "bias_in_state": ".2f",
    "cosine_bias": ".2f",
    "expected_cosine": ".2f",
    "snr": "+.1f",
    "snr_env": "+.1f",
    "gain": "+.2f",
    "harm": ".2f",
}
LABELS = {"cosine_bias": "cosine of mean"}


@dataclass(frozen=True)
class CreditBench(credit_study.CreditStudy):
    """How near to the true advantage is each credit, and how good is its gradient?

    Scores all on policies of rising success.
    """

    seeds: Count = 1  # policies, each with its own problems
    tasks: tuple[str, ...] = ("chain_pit", "key_door", "graph_nav")
    levels: tuple[Inside, ...] = (0.05, 0.5, 0.95)  # success of the policies, about

    claim: ClassVar[str] = (
        "RLOO's expected gradient is the true one, a test of the bench; fine credit helps more "
        "where success is rare (our own question); VinePPO's forks are worth their episodes "
        "(2410.01679 says so per update; we doubt it per environment step); comparing states "
        "that recur beats comparing episodes where they do (GiGPO, 2505.10978)."
    )
    legend: ClassVar[dict[str, str]] = {
        k: v for k, v in credit_study.LEGEND.items() if k != "±"
    } | {
        "credit": "RLOO is leave_one_out, GRPO group_relative, Dr. GRPO centred",
        "pearson": "correlation with the true advantage over tokens",
        "key accuracy": f"{credit_study.LEGEND['key accuracy']}; imitation's, a constant, is "
        "what knowing nothing gives",
        "leakage": "share of |credit| on tokens whose choice changes nothing",
        "bias in state": "root mean square of E[credit | state, action] from the true "
        "advantage, over the truth's deviation, after the best slope and without each state's "
        "mean; RLOO's is 0 in theory, what is shown for it is noise",
        "cosine of mean": "of the expected gradient with the exact one, free of noise: 1 is no "
        "bias; above 1 or – where noise hides it",
        "snr env": "the SNR that RLOO's number of environment steps would buy",
    }
    fewest: ClassVar[int] = 1
    tiny: ClassVar[dict[str, Any]] = dict(
        tasks=("chain_pit",), levels=(0.5,), replicates=4, problems=2, attempts=2
    )

    def __post_init__(self):
        super().__post_init__()
        credit_study.check_levels(self.levels)
        for name in self.tasks:
            look_up("task", name, named(envs))

    def cells(self) -> list[Record]:
        return [
            dict(task=task, level=level, seed=s)
            for s in range(self.seeds)
            for task in self.tasks
            for level in self.levels
        ]

    def records(self, cell: Record) -> list[Record]:
        task = named(envs)[cell["task"]]()
        bed = self.make_testbed(task, self.levels, cell["level"], cell["seed"])
        facts = dict(
            success=credit_study.success(bed),
            expected_return=bed.expected_return,
            weights=transformer.num_params(bed.policy_config),
        )
        records = []
        for name, estimator in estimators(bed.capacity).items():
            algorithm = testbed.algorithm_with(bed, estimator.credit, estimator.values)
            records.append({"estimator": name} | facts | score_algorithm(bed, algorithm))
        return records

    def lines(self, records: list[Record]) -> list[Record]:
        lines = []
        for record in mean_of_seeds(records):
            columns = {
                LABELS.get(name, name.replace("_", " ")): format_cell(record[name], how)
                for name, how in TABLE.items()
            }
            task = f"{record['task']} at {record['success']:.2f}"
            lines.append({"task": task, "credit": record["estimator"]} | columns)
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        middle = self.levels[len(self.levels) // 2]
        by_name = {"heat_maps": heat_maps(mean_of_seeds(records))}
        for task in self.tasks:
            of_policy = select(records, task=task, level=middle, seed=0)
            by_name[f"episode_{task}"] = episode(of_policy)
        return by_name

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        return verdicts(records)


def estimators(capacity: int = testbed.CAPACITY) -> dict[str, Algorithm]:
    """Returns an algorithm for each estimator by name: every credit, then other sources of values.

    Credits that read values take the critic's.
    """
    pairs = {}
    for name, cls in named(credit).items():
        if not cls.tells_outcome:
            estimator = cls()
            pairs[name] = (estimator, Critic() if estimator.reads_value else NoValue())
    difference, whole = GAE(lambda_=0.0, whiten=False), GAE(lambda_=1.0, whiten=False)
    pairs |= {
        "reward_to_go − greedy (ReMax)": (whole, Greedy()),
        "reward_to_go − critic": (whole, Critic()),
        "1 fork (VinePPO)": (difference, Forks(1)),
        "4 forks (VinePPO)": (difference, Forks(4)),
        "gae not whitened, exact values": (GAE(whiten=False), Exact(capacity)),
        "oracle": (difference, Exact(capacity)),
    }
    return {
        name: swap(REINFORCE, credit=estimator, values=values)
        for name, (estimator, values) in pairs.items()
    }


def format_cell(x: float, how: str) -> str:
    return "–" if np.isnan(x) else format(x, how).replace("inf", "∞")


def score_algorithm(bed: testbed.Testbed, algorithm: Algorithm) -> Record:
    """Returns all measures of an algorithm's credit, and the tokens of one episode.

    These are stored as JSON, with their credit and their true advantage. The episode is the longest
    of those that failed, if any did.
    """
    credit, steps = testbed.credits(bed, algorithm)
    shape, mask = bed.trajectory.mask.shape, np.asarray(bed.trajectory.mask)
    preference = np.where(bed.trajectory.success, 0, 1000) + mask.sum((3, 4))
    index = np.unravel_index(preference.argmax(), preference.shape)

    def of_episode(values):
        return [round(float(x), 3) for x in values.reshape(shape)[index][mask[index]]]

    shown = {
        "tokens": token_labels(bed, index),
        "credit": of_episode(credit),
        "truth": of_episode(bed.truth),
    }
    measures = testbed.score_credit(bed, credit, steps)
    return measures | {name: json.dumps(x) for name, x in shown.items()}


def token_labels(bed: testbed.Testbed, index: tuple) -> list[str]:
    """Returns a label for each token of an episode: the turn in words at its first token."""
    observation, action, mask = (
        np.asarray(x[index])
        for x in (bed.trajectory.observation, bed.trajectory.action, bed.trajectory.mask)
    )
    labels = []
    for seen, written, valid in zip(observation, action, mask):
        if valid.any():
            turn = bed.task.render_turn(seen, written[valid])
            labels += [turn] + [""] * (int(valid.sum()) - 1)
    return labels


def mean_of_seeds(records: list[Record]) -> list[Record]:
    """Returns one record for each estimator, task and level.

    The SNR is that of the mean ratios, in decibels, with the SNR per environment step beside it.
    """
    means = []
    for task, level in places(records):
        of_place = select(records, task=task, level=level)
        base = np.mean([r["env_steps"] for r in select(of_place, estimator="leave_one_out")])
        for name in distinct(of_place, "estimator"):
            of_seeds = select(of_place, estimator=name)
            mean = {
                column: np.mean([r[column] for r in of_seeds]) if isinstance(x, float) else x
                for column, x in of_seeds[0].items()
            }
            ratio = np.mean([r["signal_to_noise"] for r in of_seeds])
            steps = np.mean([r["env_steps"] for r in of_seeds])
            snr = 10 * np.log10(ratio) if ratio > 0 else -np.inf
            means.append(mean | {"snr": snr, "snr_env": quality.snr_env(snr, steps, base)})
    return means


# Verdicts. Standard errors are jackknifed over batches. The difference of two estimators takes them
# as independent, though they share batches.


def verdicts(records: list[Record]) -> list[Verdict]:
    """Returns the verdicts of all rules."""
    cells = list(dict.fromkeys((r["task"], r["level"], r["seed"]) for r in records))
    labels = {cell: _label(records, *cell) for cell in cells}
    value = partial(estimate, records)

    bias = {labels[c]: value(*c, "leave_one_out", "projection") for c in cells}
    forks = {
        labels[c]: difference(per_step(records, *c, VINE), per_step(records, *c, "leave_one_out"))
        for c in cells
    }
    recurring = {labels[c]: difference(value(*c, "gigpo"), value(*c, "centred")) for c in cells}
    levels = distinct(records, "level")
    low, high = min(levels), max(levels)
    return [
        judge_bias(bias),
        judge_everywhere(
            RARE,
            f"The oracle's gain over RLOO at {low} less that at {high}, {COSINE},",
            gain_where_rare(records, cells, low, high),
        ),
        judge_everywhere(
            "VinePPO's forks are worth their episodes",
            "Signal over noise at RLOO's environment steps, 4 forks minus RLOO",
            forks,
        ),
        judge_everywhere(
            "Groups of recurring states beat groups of episodes",
            f"GiGPO's gain over centred returns, {COSINE},",
            recurring,
        ),
    ]


def _label(records: list[Record], task: str, level: float, seed: int) -> str:
    success = select(records, task=task, level=level, seed=seed)[0]["success"]
    several = len(distinct(records, "seed")) > 1
    return f"{task} at {success:.2f}" + f" (seed {seed})" * several


def gain_where_rare(
    records: list[Record], cells: list[tuple], low: float, high: float
) -> dict[str, tuple[float, float]]:
    """Returns, for each task and seed, the oracle's gain over RLOO at `low` less that at `high`."""

    def gain(task, level, seed):
        oracle = estimate(records, task, level, seed, "oracle")
        return difference(oracle, estimate(records, task, level, seed, "leave_one_out"))

    return {
        f"{task}{f' (seed {seed})' * (seed > 0)}": difference(
            gain(task, low, seed), gain(task, high, seed)
        )
        for task, level, seed in cells
        if level == low
    }


def estimate(
    records: list[Record],
    task: str,
    level: float,
    seed: int,
    name: str,
    column: str = "expected_cosine",
) -> tuple[float, float]:
    """Returns a number of an estimator, and its standard error."""
    (record,) = select(records, task=task, level=level, seed=seed, estimator=name)
    return record[column], record[f"{column}_se"]


def per_step(
    records: list[Record], task: str, level: float, seed: int, name: str
) -> tuple[float, float]:
    """Returns the signal over noise that RLOO's environment steps would buy, and its error."""
    (one,) = select(records, task=task, level=level, seed=seed, estimator=name)
    (base,) = select(records, task=task, level=level, seed=seed, estimator="leave_one_out")
    share = base["env_steps"] / one["env_steps"]
    return one["signal_to_noise"] * share, one["signal_to_noise_se"] * share


def difference(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return a[0] - b[0], float(np.hypot(a[1], b[1]))


def judge_bias(projections: dict[str, tuple[float, float]]) -> Verdict:
    """Returns the verdict on RLOO's expected gradient along the true one, in all cells."""
    errors = scipy.stats.norm.isf(0.025 / len(projections))
    is_near = [abs(x - 1) + errors * se < MARGIN for x, se in projections.values()]
    is_off = [abs(x - 1) > errors * se for x, se in projections.values()]
    rule = (
        f"E g · g* / ‖g*‖² is within {MARGIN} of 1 in every cell, by its interval (an "
        "equivalence test; 95% for all cells together); falsified if one excludes 1."
    )
    kind = "falsified" if any(is_off) else "supported" if all(is_near) else "inconclusive"
    numbers = "; ".join(
        f"{cell} {x:.2f} ± {errors * se:.2f}" for cell, (x, se) in projections.items()
    )
    evidence = f"{sum(is_near)} of {len(projections)} cells can tell. {numbers}."
    return Verdict("RLOO's expected gradient is the true one", rule, kind, evidence)


def judge_everywhere(claim: str, what: str, values: dict[str, tuple[float, float]]) -> Verdict:
    """Returns the verdict on a quantity that must lie above 0 in every cell."""
    errors = scipy.stats.norm.isf(0.025)
    words = {"supported": "above", "falsified": "below", "inconclusive": "unclear"}
    kinds = {cell: outcome(x - errors * se, x + errors * se) for cell, (x, se) in values.items()}
    evidence = "; ".join(
        f"{cell} {x:+.2f} ± {errors * se:.2f} ({words[kinds[cell]]})"
        for cell, (x, se) in values.items()
    )
    rule = (
        f"{what} lies above 0 everywhere (supported) or below 0 everywhere (falsified), by its "
        "95% interval."
    )
    different = set(kinds.values())
    kind = different.pop() if len(different) == 1 else "inconclusive"
    return Verdict(claim, rule, kind, evidence)


if __name__ == "__main__":
    console.main(partial(study.run, CreditBench()))
