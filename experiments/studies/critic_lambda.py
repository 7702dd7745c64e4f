"""Which lambda of GAE is best, and how does that depend on errors of the critic?

    python -m experiments.studies.critic_lambda
    python -m experiments.studies.critic_lambda --delays 8 --lambdas 0 0.95 1 --updates 0

With exact values every lambda has the right expectation, and a small one has the least noise. With
wrong values a small lambda believes them. Here the exact values of key_door are spoiled in a
controlled way: they are shrunk, or get noise that is the same whenever a state recurs. A fitted
critic is compared with them. The credits of all are scored against the truth
(experiments/ground_truth/testbed.py). The rules compare the cosine of a batch's gradient with the
true one, at the smallest and the largest lambda. Then PPO learns, from a value head that was fitted
beforehand and from one that was not.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from matplotlib.figure import Figure

from agentic_rl import algorithms
from agentic_rl.algorithms import REINFORCE, swap
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Finite, Inside, Natural, NonNegative, Seed, Weight
from agentic_rl.credit.gae import GAE
from agentic_rl.credit.returns import token_rewards
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.policy import transformer
from agentic_rl.types import Trajectory, Value
from agentic_rl.values import Costs, ValueContext, from_state_values
from agentic_rl.values.critic import Critic
from agentic_rl.values.exact import Exact
from experiments.cli import console
from experiments.ground_truth import cloned_policies
from experiments.harness import credit_study, study
from experiments.reports import sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select
from experiments.reports.verdicts import above_zero

EXACT, SHRUNK, NOISY, FITTED = "exact", "shrunk by half", "noisy by .2", "a fitted critic's"
COSINE = "expected_cosine"  # by which lambdas are compared


@dataclass(frozen=True)
class CriticLambda(credit_study.CreditStudy):
    """Which lambda of GAE is best, and what does it owe to errors of the critic?

    Scores GAE with right and wrong values.
    """

    delays: tuple[Natural, ...] = (4, 16)
    lambdas: tuple[Weight, ...] = (0.0, 0.5, 0.8, 0.95, 1.0)
    level: Inside = 0.5  # success of the policies
    updates: Count = 30  # of PPO on 256 episodes each, at the longest delay; 0: none

    claim: ClassVar[str] = (
        "GAE (1506.02438), VC-PPO (2503.01491): lambda trades the critic's errors for noise, and "
        "a critic that was not fitted beforehand spoils long tasks where lambda is below 1. "
        "Predicted: with exact values the smallest lambda is best, with wrong ones a larger; "
        "fitting the value head first helps PPO at a long delay."
    )
    tiny: ClassVar[dict[str, Any]] = dict(
        delays=(1,), lambdas=(0.0, 1.0), seeds=2, replicates=4, problems=2, attempts=2, updates=1
    )

    def __post_init__(self):
        super().__post_init__()
        credit_study.check_levels((self.level,))
        check(len(self.delays) >= 1, "Name one delay or more.")
        check(
            len(self.lambdas) >= 2,
            "Name two lambdas or more: the largest is compared with the smallest.",
        )

    def cells(self) -> list[Record]:
        return [dict(delay=delay, seed=seed) for delay in self.delays for seed in range(self.seeds)]

    def records(self, cell: Record) -> list[Record]:
        task, seed = KeyDoor(delay=cell["delay"]), cell["seed"]
        bed = self.make_testbed(task, (self.level,), self.level, seed)
        ppo = {"success, fitted": np.nan, "success, not fitted": np.nan}
        if self.updates and cell["delay"] == max(self.delays):
            ppo = train_ppo(task, bed.policy_config, bed.params, self.updates, seed)
        records = []
        for name, values in sources(bed.capacity, seed).items():
            for lambda_ in self.lambdas:
                credit = GAE(lambda_=lambda_, whiten=False)
                algorithm = swap(REINFORCE, credit=credit, values=values)
                (scores,) = credit_study.score_estimators(bed, {name: algorithm})
                records.append({"lambda": lambda_} | scores | ppo)
        return records

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {COSINE: ".2f", "cosine_bias": ".2f", "snr": "+.1f", "gain": ".2f"}
        lines = []
        for delay in distinct(records, "delay"):
            for line in sweep.table(select(records, delay=delay), "lambda", columns):
                lines.append({"delay": delay} | line)
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        panels = {
            COSINE: "cosine of a batch's gradient\nwith the true one",
            "gain": "gain of a step, of the\ntrue gradient's",
        }
        by_name = {}
        for delay in distinct(records, "delay"):
            of_delay = select(records, delay=delay)
            by_name[f"critic_lambda_{delay}"] = sweep.figure(
                of_delay, "lambda", panels, title=f"delay of {delay} turns", scale="even"
            )
        sweep.same_limits(by_name.values(), panels)
        return by_name

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        delay, low, high = max(self.delays), min(self.lambdas), max(self.lambdas)
        records = select(records, delay=delay)
        fall = f"the mean cosine at lambda {low:g} minus that at {high:g}, delay {delay}"
        rise = f"the mean cosine at lambda {high:g} minus that at {low:g}, delay {delay}"
        exact = cosine_rise(records, EXACT, low, high)
        verdicts = [
            above_zero(
                "With exact values a small lambda is best", f"With exact values, {fall}", -exact
            )
        ]
        for name in (SHRUNK, NOISY, FITTED):
            claim = f"Values that are {name} ask for a larger lambda"
            what = f"By how much more than with exact values: {rise}"
            more = cosine_rise(records, name, low, high) - exact
            verdicts.append(above_zero(claim, what, more))
        if self.updates:
            where = {"estimator": EXACT, "lambda": low}  # PPO's success is the same in all
            fitted = sweep.by_seed(records, "success, fitted", **where)
            not_fitted = sweep.by_seed(records, "success, not fitted", **where)
            what = (
                f"PPO's success after {self.updates} updates at a delay of {delay}, value head "
                "fitted beforehand minus not"
            )
            claim = "Fitting the value head first helps PPO"
            verdicts.append(above_zero(claim, what, fitted - not_fitted))
        return verdicts


@config
class Wrong(Exact):
    """Exact values before each token that are spoiled: shrunk, plus a fixed error of each state."""

    shrink: Finite = 1.0  # factor of the values
    noise: NonNegative = 0.0  # standard deviation of the errors
    seed: Seed = 0  # of the errors

    def __call__(self, context: ValueContext, trajectory: Trajectory) -> tuple[Value, Costs]:
        value, costs = super().__call__(context, trajectory)
        error = self.error(trajectory.anchor)[..., None]
        spoiled = self.shrink * value.before + self.noise * error
        before = jnp.where(trajectory.mask, spoiled, 0.0)
        return from_state_values(before, token_rewards(trajectory), trajectory.mask, 1.0), costs

    def error(self, anchor: Int[Array, "*b"]) -> Float[Array, "*b"]:
        """Returns a standard normal number for each state, the same wherever it recurs."""
        key = jax.random.key(self.seed)
        draw = jax.vmap(lambda state: jax.random.normal(jax.random.fold_in(key, state)))
        return draw(anchor.ravel()).reshape(anchor.shape)


def sources(capacity: int, seed: int) -> dict[str, Any]:
    """Returns the sources of values by name."""
    return {
        EXACT: Exact(capacity),
        SHRUNK: Wrong(capacity, shrink=0.5),
        NOISY: Wrong(capacity, noise=0.2, seed=seed),
        FITTED: Critic(),
    }


def cosine_rise(
    records: list[Record], name: str, low: float, high: float
) -> Float[np.ndarray, " seeds"]:
    """Returns the mean cosine at lambda `high` minus that at `low`, for each seed."""
    at_low = sweep.by_seed(records, COSINE, estimator=name, **{"lambda": low})
    return sweep.by_seed(records, COSINE, estimator=name, **{"lambda": high}) - at_low


def train_ppo(
    task: KeyDoor,
    policy_config: transformer.Policy,
    params: transformer.Params,
    updates: int,
    seed: int,
) -> dict[str, float]:
    """Returns PPO's success from a value head that was fitted to rewards to go, and from zeros."""
    blank = params | {"value_head": jax.tree.map(jnp.zeros_like, params["value_head"])}
    success = {}
    for name, start in (("fitted", params), ("not fitted", blank)):
        trained = cloned_policies.train_further(
            task, policy_config, algorithms.PPO, start, updates, seed
        )
        success[f"success, {name}"] = cloned_policies.measure_success(
            task, policy_config, trained, seed
        )
    return success


if __name__ == "__main__":
    console.main(partial(study.run, CriticLambda()))
