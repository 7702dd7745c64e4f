"""Which lambda of GAE is best, and what does it owe to errors of the critic?

    python -m experiments.studies.critic_lambda
    python -m experiments.studies.critic_lambda --delays 8 --lambdas 0 0.95 1 --updates 0

With exact values every lambda has the right expectation and a small one the least noise; with wrong values a small lambda believes them.
The exact values of key_door are spoiled in a controlled way (shrunk, or with noise that stays where a state recurs), and a critic is
fitted beside; their credits are scored against the truth (experiments/ground_truth/testbed.py). Then PPO learns, with its value head fitted beforehand
or not.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
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
BEST = "expected_cosine"


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
        check(len(self.delays) >= 1, "delays are numbers of turns, one or more.")
        check(len(self.lambdas) >= 2, "lambdas are two numbers or more.")

    def cells(self) -> list[Record]:
        return [dict(delay=delay, seed=seed) for delay in self.delays for seed in range(self.seeds)]

    def records(self, cell: Record) -> list[Record]:
        task, seed = KeyDoor(delay=cell["delay"]), cell["seed"]
        bed, found = self.make_testbed(task, (self.level,), self.level, seed), []
        for name, values in sources(bed.capacity, seed).items():
            for lambda_ in self.lambdas:
                row = swap(REINFORCE, credit=GAE(lambda_=lambda_, whiten=False), values=values)
                (record,) = credit_study.score_estimators(bed, {name: row})
                found.append({"lambda": lambda_} | record)
        learns = self.updates and cell["delay"] == max(self.delays)
        learned = (
            taught(task, bed.policy_config, bed.params, self.updates, seed)
            if learns
            else dict.fromkeys(("fitted", "not fitted"), np.nan)
        )
        return [record | {f"success, {k}": v for k, v in learned.items()} for record in found]

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {BEST: ".2f", "cosine_bias": ".2f", "snr": "+.1f", "gain": ".2f"}
        each = {
            delay: sweep.table(select(records, delay=delay), "lambda", columns)
            for delay in distinct(records, "delay")
        }
        return [{"delay": delay} | line for delay, lines in each.items() for line in lines]

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        panels = {
            BEST: "cosine of a batch's gradient\nwith the true one",
            "gain": "gain of a step, of the\ntrue gradient's",
        }
        found = {}
        for delay in distinct(records, "delay"):
            own = select(records, delay=delay)
            found[f"critic_lambda_{delay}"] = sweep.figure(
                own, "lambda", panels, title=f"delay of {delay} turns", scale="even"
            )
        sweep.same_limits(found.values(), panels)
        return found

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        delay, low, high = max(self.delays), min(self.lambdas), max(self.lambdas)
        some, what = (
            select(records, delay=delay),
            f"the mean cosine at lambda {high:g} minus that at {low:g}, delay {delay}",
        )
        loss, fall = (
            -rise(some, EXACT, low, high),
            f"the mean cosine at lambda {low:g} minus that at {high:g}, delay {delay}",
        )
        found = [
            above_zero(
                "With exact values a small lambda is best", f"With exact values, {fall}", loss
            )
        ]
        for name in (SHRUNK, NOISY, FITTED):
            more = rise(some, name, low, high) - rise(some, EXACT, low, high)
            found.append(
                above_zero(
                    f"Values that are {name} ask for a larger lambda",
                    f"By how much more than with exact values: {what}",
                    more,
                )
            )
        if self.updates:
            at = {"estimator": EXACT, "lambda": low}
            after, before = (
                sweep.by_seed(some, f"success, {k}", **at) for k in ("fitted", "not fitted")
            )
            rule = (
                f"PPO's success after {self.updates} updates at a delay of {delay}, value head "
                "fitted beforehand minus not"
            )
            found.append(above_zero("Fitting the value head first helps PPO", rule, after - before))
        return found


@config
class Wrong(Exact):
    """Exact values before each token, spoiled: times `shrink`, plus a number that is drawn once for each state."""

    shrink: Finite = 1.0
    noise: NonNegative = 0.0  # its standard deviation
    seed: Seed = 0  # of these numbers

    def __call__(self, world: ValueContext, trajectory: Trajectory) -> tuple[Value, Costs]:
        value, spent = super().__call__(world, trajectory)
        draw = jax.vmap(
            lambda anchor: jax.random.normal(jax.random.fold_in(jax.random.key(self.seed), anchor))
        )
        error = draw(trajectory.anchor.ravel()).reshape(trajectory.anchor.shape)[..., None]
        before = jnp.where(trajectory.mask, self.shrink * value.before + self.noise * error, 0.0)
        return from_state_values(before, token_rewards(trajectory), trajectory.mask, 1.0), spent


def sources(capacity: int, seed: int) -> dict[str, Any]:
    """Values by name."""
    return {
        EXACT: Exact(capacity),
        SHRUNK: Wrong(capacity, shrink=0.5),
        NOISY: Wrong(capacity, noise=0.2, seed=seed),
        FITTED: Critic(),
    }


def rise(records: list[Record], name: str, low: float, high: float) -> Float[np.ndarray, " seeds"]:
    """The mean cosine at the larger lambda minus that at the smaller, for each seed."""
    above, below = (
        sweep.by_seed(records, BEST, estimator=name, **{"lambda": x}) for x in (high, low)
    )
    return above - below


def taught(
    task: KeyDoor,
    policy_config: transformer.Policy,
    params: transformer.Params,
    updates: int,
    seed: int,
) -> dict[str, float]:
    """PPO's success, from a value head that was fitted to rewards to go, and from one that knows nothing."""
    blank = params | {"value_head": jax.tree.map(jnp.zeros_like, params["value_head"])}
    after = {
        name: cloned_policies.train_further(
            task, policy_config, algorithms.PPO, start, updates, seed
        )
        for name, start in (("fitted", params), ("not fitted", blank))
    }
    return {
        name: cloned_policies.measure_success(task, policy_config, weights, seed)
        for name, weights in after.items()
    }


if __name__ == "__main__":
    console.main(partial(study.run, CriticLambda()))
