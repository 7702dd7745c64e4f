"""How near to the true advantage is each credit assignment, and how good is the gradient that it makes?

    python -m experiments.studies.credit_bench                                            # minutes on 2 cores
    python -m experiments.studies.credit_bench --tasks key_door --levels 0.5 --seeds 1    # one cell
    python -m experiments.studies.credit_bench --no-measure                               # only draws, from the results there are

A policy is cloned until it succeeds about as often as asked; its value head is then fitted to the rewards to go of its own episodes.
It plays batches at the same problems, and every credit as it comes (and forks, a greedy baseline, the exact values) is scored on these
against the exact advantage of every token and the exact gradient (experiments/ground_truth/testbed.py, experiments/ground_truth/quality.py). Nothing is trained.
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

MARGIN = 0.25  # of the expected gradient along the true one, for "the same"
RARE = "Fine credit helps more where success is rare than where it is common"
COSINE = "in the mean cosine of a batch's gradient with the true one"
VINE = "4 forks (VinePPO)"
TABLE = {
    "pearson": ".2f", "key_accuracy": ".2f", "leakage": ".2f", "bias_in_state": ".2f", "cosine_bias": ".2f", "expected_cosine": ".2f",
    "snr": "+.1f", "snr_env": "+.1f", "gain": "+.2f", "harm": ".2f",
}  # fmt: skip

LABELS = {"cosine_bias": "cosine of mean"}


@dataclass(frozen=True)
class CreditBench(credit_study.CreditStudy):
    """How near to the true advantage is each credit, and how good is its gradient?

    Scores all on policies of rising success.
    """

    seeds: Count = 1  # policies, each with its own problems
    tasks: tuple[str, ...] = ("chain_pit", "key_door", "graph_nav")
    levels: tuple[Inside, ...] = (
        0.05,
        0.5,
        0.95,
    )  # success of the policies: of all clones on the way, the nearest

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
        bed = self.make_testbed(
            named(envs)[cell["task"]](), self.levels, cell["level"], cell["seed"]
        )
        facts = dict(
            success=credit_study.success(bed),
            expected_return=bed.expected_return,
            weights=transformer.num_params(bed.policy_config),
        )
        rows = {
            name: testbed.algorithm_with(bed, row.credit, row.values)
            for name, row in estimators(bed.capacity).items()
        }
        return [
            {"estimator": name} | facts | score_algorithm(bed, row) for name, row in rows.items()
        ]

    def lines(self, records: list[Record]) -> list[Record]:
        return [
            {"task": f"{r['task']} at {r['success']:.2f}", "credit": r["estimator"]}
            | {
                LABELS.get(name, name.replace("_", " ")): format_cell(r[name], how)
                for name, how in TABLE.items()
            }
            for r in mean_of_seeds(records)
        ]

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        middle = self.levels[len(self.levels) // 2]
        shown = {task: select(records, task=task, level=middle, seed=0) for task in self.tasks}
        return {"heat_maps": heat_maps(mean_of_seeds(records))} | {
            f"episode_{task}": episode(some) for task, some in shown.items()
        }

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        return verdicts(records)


def estimators(capacity: int = testbed.CAPACITY) -> dict[str, Algorithm]:
    """Every credit as it comes, by name; those that read values take the critic's. Then other sources of values."""
    plain = {name: cls() for name, cls in named(credit).items() if not cls.tells_outcome}
    found = {name: (one, Critic() if one.reads_value else NoValue()) for name, one in plain.items()}
    difference, whole = GAE(lambda_=0.0, whiten=False), GAE(lambda_=1.0, whiten=False)
    found |= {
        "reward_to_go − greedy (ReMax)": (whole, Greedy()),
        "reward_to_go − critic": (whole, Critic()),
    }
    found |= {f"{k} fork{'s' * (k > 1)} (VinePPO)": (difference, Forks(k)) for k in (1, 4)}
    found |= {
        "gae not whitened, exact values": (GAE(whiten=False), Exact(capacity)),
        "oracle": (difference, Exact(capacity)),
    }
    return {
        name: swap(REINFORCE, credit=one, values=values) for name, (one, values) in found.items()
    }


def format_cell(x: float, how: str) -> str:
    return "–" if np.isnan(x) else format(x, how).replace("inf", "∞")


def score_algorithm(bed: testbed.Testbed, row: Algorithm) -> Record:
    """All measures of a row's credit; the tokens of one episode, what they are credited with, and their true advantage."""
    credit, steps = testbed.credits(bed, row)
    shape, mask = bed.trajectory.mask.shape, np.asarray(bed.trajectory.mask)
    written = np.where(bed.trajectory.success, 0, 1000) + mask.sum(
        (3, 4)
    )  # the longest of those that failed, if any did
    index = np.unravel_index(written.argmax(), written.shape)
    of_episode = lambda x: [round(float(v), 3) for v in x.reshape(shape)[index][mask[index]]]  # noqa: E731
    shown = {
        "tokens": words(bed, index),
        "credit": of_episode(credit),
        "truth": of_episode(bed.truth),
    }
    return testbed.score_credit(bed, credit, steps) | {k: json.dumps(x) for k, x in shown.items()}


def words(bed: testbed.Testbed, index: tuple) -> list[str]:
    """What was seen and written at each token of an episode."""
    observation, action, mask = (
        np.asarray(x[index])
        for x in (bed.trajectory.observation, bed.trajectory.action, bed.trajectory.mask)
    )
    turns = [bed.task.render_turn(o, a[m]) for o, a, m in zip(observation, action, mask) if m.any()]
    return [turn if i == 0 else "" for turn, m in zip(turns, mask) for i in range(m.sum())]


def mean_of_seeds(records: list[Record]) -> list[Record]:
    """One record for each estimator in each task and level, with the SNR per environment step beside; decibels of mean ratios."""
    found = []
    for task, level in places(records):
        for name in distinct(records, "estimator"):
            some = select(records, task=task, level=level, estimator=name)
            mean = {
                k: np.mean([r[k] for r in some]) if isinstance(x, float) else x
                for k, x in some[0].items()
            }
            ratio, steps = (np.mean([r[k] for r in some]) for k in ("signal_to_noise", "env_steps"))
            base = np.mean(
                [
                    r["env_steps"]
                    for r in select(records, task=task, level=level, estimator="leave_one_out")
                ]
            )
            snr = 10 * np.log10(ratio) if ratio > 0 else -np.inf
            found.append(mean | {"snr": snr, "snr_env": quality.snr_env(snr, steps, base)})
    return found


# Verdicts: standard errors are jackknifed over batches; the gap of two estimators takes them as independent, though they share batches


def verdicts(records: list[Record]) -> list[Verdict]:
    low, high = min(distinct(records, "level")), max(distinct(records, "level"))
    cells = list(dict.fromkeys((r["task"], r["level"], r["seed"]) for r in records))
    success = {c: select(records, task=c[0], level=c[1], seed=c[2])[0]["success"] for c in cells}
    told = {
        c: f"{c[0]} at {success[c]:.2f}" + f" (seed {c[2]})" * (len(distinct(records, "seed")) > 1)
        for c in cells
    }
    value = partial(estimate, records)
    cosine = {
        (task, seed): difference(
            difference(value(task, low, seed, "oracle"), value(task, low, seed, "leave_one_out")),
            difference(value(task, high, seed, "oracle"), value(task, high, seed, "leave_one_out")),
        )
        for task, level, seed in cells if level == low
    }  # fmt: skip
    vine = {
        told[c]: difference(per_step(records, *c, VINE), per_step(records, *c, "leave_one_out"))
        for c in cells
    }
    recur = {told[c]: difference(value(*c, "gigpo"), value(*c, "centred")) for c in cells}
    crossover = {f"{task}{f' (seed {seed})' * (seed > 0)}": x for (task, seed), x in cosine.items()}
    rules = {
        RARE: (f"The oracle's gain over RLOO at {low} less that at {high}, {COSINE},", crossover),
        "VinePPO's forks are worth their episodes": ("Signal over noise at RLOO's environment steps, 4 forks minus RLOO", vine),
        "Groups of recurring states beat groups of episodes": (f"GiGPO's gain over centred returns, {COSINE},", recur),
    }  # fmt: skip
    judged = [everywhere(claim, what, found) for claim, (what, found) in rules.items()]
    return [unbiased({told[c]: value(*c, "leave_one_out", "projection") for c in cells}), *judged]


def estimate(
    records: list[Record],
    task: str,
    level: float,
    seed: int,
    name: str,
    column: str = "expected_cosine",
) -> tuple[float, float]:
    """A number and its standard error."""
    (record,) = select(records, task=task, level=level, seed=seed, estimator=name)
    return record[column], record[f"{column}_se"]


def per_step(
    records: list[Record], task: str, level: float, seed: int, name: str
) -> tuple[float, float]:
    """Signal over noise that RLOO's environment steps would buy."""
    (one,) = select(records, task=task, level=level, seed=seed, estimator=name)
    (base,) = select(records, task=task, level=level, seed=seed, estimator="leave_one_out")
    share = base["env_steps"] / one["env_steps"]
    return one["signal_to_noise"] * share, one["signal_to_noise_se"] * share


def difference(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return a[0] - b[0], float(np.hypot(a[1], b[1]))


def unbiased(found: dict[str, tuple[float, float]]) -> Verdict:
    """Of RLOO in all cells."""
    errors = scipy.stats.norm.isf(0.025 / len(found))
    near = [abs(x - 1) + errors * se < MARGIN for x, se in found.values()]
    off = [abs(x - 1) > errors * se for x, se in found.values()]
    said = "; ".join(f"{name} {x:.2f} ± {errors * se:.2f}" for name, (x, se) in found.items())
    rule = (
        f"E g · g* / ‖g*‖² is within {MARGIN} of 1 in every cell, by its interval (an "
        "equivalence test; 95% for all cells together); falsified if one excludes 1."
    )
    kind = "falsified" if any(off) else "supported" if all(near) else "inconclusive"
    return Verdict(
        "RLOO's expected gradient is the true one",
        rule,
        kind,
        f"{sum(near)} of {len(found)} cells can tell. {said}.",
    )


def everywhere(claim: str, what: str, found: dict[str, tuple[float, float]]) -> Verdict:
    """Of a quantity in all cells."""
    errors = scipy.stats.norm.isf(0.025)
    each = {name: outcome(x - errors * se, x + errors * se) for name, (x, se) in found.items()}
    kinds, word = (
        set(each.values()),
        {"supported": "above", "falsified": "below", "inconclusive": "unclear"},
    )
    said = "; ".join(
        f"{name} {x:+.2f} ± {errors * se:.2f} ({word[each[name]]})"
        for name, (x, se) in found.items()
    )
    rule = (
        f"{what} lies above 0 everywhere (supported) or below 0 everywhere (falsified), by its "
        "95% interval."
    )
    return Verdict(claim, rule, kinds.pop() if len(kinds) == 1 else "inconclusive", said)


if __name__ == "__main__":
    console.main(partial(study.run, CreditBench()))
