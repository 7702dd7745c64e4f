"""Arms of a study: policies of all seeds, trained side by side from the same start, and judged on the same unseen problems.

Seeds are paired: seed s has the same initial weights, problems and evaluation in every arm.
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from agentic_rl import algorithms, parallel
from agentic_rl.algorithms import Algorithm
from agentic_rl.budgets import BUDGET, Budget
from agentic_rl.config.ranges import Count
from agentic_rl.losses import loss_terms
from agentic_rl.policy import layout, transformer
from agentic_rl.policy.sampler import Sampler
from agentic_rl.policy.transformer import Policy
from agentic_rl.rng_streams import EVALUATE, INIT
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import Run, WarmStart
from agentic_rl.training.train import train
from agentic_rl.types import Environment, Task, Trajectory, parts
from experiments.cli import progress
from experiments.harness import study
from experiments.reports.stats import Record

Rows = dict[str, Any]
Tokens = Float[np.ndarray, "S N T A"]
SIZE = Policy(context="markov")
TINY = Policy(width=16, layers=1, heads=2, mlp=32, context="markov")
CLONING = WarmStart().algorithm.optimizer  # a larger learning rate than that of RL
LEGEND = {
    "±": "half of Student's 95% interval over seeds",
    "success": "on unseen problems, with sampled actions",
}


@dataclass(frozen=True)
class TrainingStudy(study.Study):
    """The flags of studies that train policies."""

    updates: Count = 60  # of each arm, on 256 episodes each
    problems: Count = 1024  # unseen ones, of the evaluation of each seed

    headline: ClassVar[str] = "success"
    legend: ClassVar[dict[str, str]] = LEGEND

    @property
    def policy_config(self) -> Policy:
        """Of the policies."""
        return TINY if self.quick else SIZE


class Policies(NamedTuple):
    """Of all seeds 0, 1, ..."""

    params: Any  # [S, ...]
    drawn: int  # problems drawn for them
    spent: Budget  # what they cost, a list over seeds for each budget

    @property
    def seeds(self) -> int:
        return len(jax.tree.leaves(self.params)[0])


@cache
def fresh(policy_config: Policy, seeds: int) -> Policies:
    """Untrained ones."""
    params = [
        transformer.init(policy_config, jax.random.fold_in(jax.random.key(seed), INIT))
        for seed in range(seeds)
    ]
    return Policies(
        jax.tree.map(lambda *x: np.stack(x), *jax.device_get(params)), 0, Budget.zero(seeds)
    )


def clone_policies(
    task: Task,
    policy_config: Policy,
    seeds: int,
    updates: int,
    num_demos: int = 0,
    noise: float = 0.0,
) -> Policies:
    """Those that cloned the expert's demonstrations, as in a run's warm start; `num_demos` 0: fresh ones in every update."""
    return _clone(
        tuple(parts(task).items()),
        policy_config,
        seeds,
        updates,
        WarmStart(num_demos=num_demos, noise=noise),
    )


@cache
def _clone(tasks, policy_config, seeds, updates, warm_start):
    task = dict(tasks) if len(tasks) > 1 else tasks[0][1]
    return train_policies(
        fresh(policy_config, seeds), task, policy_config, warm_start.algorithm, updates
    )[0]


def train_policies(
    start: Policies,
    task: Task,
    policy_config: Policy,
    row: Algorithm,
    updates: int,
    problems: int = 0,
    every: int = 0,
) -> tuple[Policies, list[Rows]]:
    """What `updates` more of a row make of the policies, and the run's rows: of before, and of each update.

    Args:
      problems: of an evaluation before and at the end, which the rows hold; 0: none.
      every: updates between further evaluations, a divisor of `updates`; 0: no others.
    Raises: Diverged, a ConfigError, if a loss or a gradient is not finite.
    """
    run = _run(row, task, policy_config, updates, start.seeds, problems or 1, every)
    begin = parallel.place(start.params, parallel.choose(1)), start.drawn, start.spent
    result = train(run, on_progress=progress.show, begin=begin, evaluates=problems > 0)
    spent = Budget({name: result.last[name] for name in BUDGET})
    return Policies(
        jax.device_get(result.state.params), int(result.state.drawn[0]), spent
    ), result.entries


def evaluate_policies(
    policies: Policies,
    task: Environment,
    policy_config: Policy,
    problems: int,
    attempts: int = 1,
    temperature: float = 1.0,
) -> Rows:
    """Success, return, accuracy and so on of each seed, on unseen problems; `num_success`: of the attempts at each."""
    machine = Programs(_run(algorithms.RLOO, task, policy_config, 1, policies.seeds, problems))
    return machine.evaluate(
        parallel.place(policies.params, machine.devices), attempts=attempts, temperature=temperature
    )


def play_test_episodes(
    policies: Policies, task: Environment, policy_config: Policy, problems: int
) -> Trajectory:
    """An episode at each of these unseen problems, with a leading axis of seeds, and with the task's states."""
    return jax.device_get(_play(task, policy_config, problems, _keys(policies), policies.params))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _play(task, policy_config, problems, keys, params):
    return jax.lax.map(
        lambda x: rollout(
            task,
            Sampler(policy_config, x[1]),
            x[0],
            jnp.arange(problems),
            split="test",
            keep_states=True,
        ),
        (keys, params),
    )


def expert_log_probs(
    policies: Policies, task: Environment, policy_config: Policy, problems: int, noise: float = 0.0
) -> tuple[Tokens, Tokens]:
    """Log-probability of every token that the expert writes at each of these unseen problems, and the policy's entropy there (in nats).

    From one teacher-forced pass; 0 where no token is. Where one answer of one turn is right, exp of an episode's sum is its success.

    Args: noise: the share of actions that are random; read is still what the expert does behind them. Only for actions of one token.
    """
    return jax.device_get(
        _expert_log_probs(
            policy_config, problems, task, Expert(noise=noise), _keys(policies), policies.params
        )
    )


@partial(jax.jit, static_argnums=(0, 1))
def _expert_log_probs(policy_config, problems, task, author, keys, params):
    def one(x):
        shown = rollout(task, author, x[0], jnp.arange(problems), split="test")
        token, valid, label, mask = (
            y[:, 0] for y in (*layout.tokens(shown), shown.label, shown.label_mask)
        )
        logits, _ = transformer.apply(policy_config, x[1], task.spec, token, valid)
        log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), label[..., None], axis=-1)[
            ..., 0
        ]
        return tuple(jnp.where(mask, y, 0.0) for y in (log_prob, loss_terms.entropy(logits)))

    return jax.lax.map(one, (keys, params))


def _keys(policies: Policies):
    """Of each seed's evaluation."""
    return jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(seed), EVALUATE))(
        np.arange(policies.seeds)
    )


def records(columns: dict[str, Num[np.ndarray, " S"] | list]) -> list[Record]:
    """A record for each seed."""
    count = len(next(iter(columns.values())))
    return [
        {"seed": s} | {name: np.asarray(x)[s].item() for name, x in columns.items()}
        for s in range(count)
    ]


def _run(
    row: Algorithm,
    task: Task,
    policy_config: Policy,
    updates: int,
    seeds: int,
    problems: int,
    every: int = 0,
) -> Run:
    each = {
        "eval_every": every or updates,
        "checkpoint_every": updates,
        "chunk": _chunk(every or updates),
    }
    return Run(
        task,
        row,
        policy_config,
        updates=updates,
        seeds=seeds,
        eval_episodes=problems,
        devices=1,
        **each,
    )


def _chunk(updates: int) -> int:
    """The largest divisor up to 10.

    >>> _chunk(60), _chunk(7), _chunk(13)
    (10, 7, 1)
    """
    return max(n for n in range(1, 11) if updates % n == 0)
