"""Studies that train policies: all arms start from the same ones, and solve the same problems.

All seeds are trained side by side, and are paired: seed s has the same initial weights, problems
and evaluation in every arm.
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
from agentic_rl.policy.episode_pass import log_prob_of
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

Entry = dict[str, Any]  # of a log: each metric, a list over seeds
Tokens = Float[np.ndarray, "S N T A"]
POLICY_CONFIG = Policy(context="markov")
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
    problems: Count = 1024  # unseen problems, on which each seed is evaluated

    headline: ClassVar[str] = "success"
    legend: ClassVar[dict[str, str]] = LEGEND

    @property
    def policy_config(self) -> Policy:
        """Returns the configuration of the policies that are trained."""
        return TINY if self.quick else POLICY_CONFIG


class Policies(NamedTuple):
    """The policies of seeds 0, 1, ..., and what it took to train them."""

    params: Any  # [S, ...]
    problems_seen: int  # by each
    budget: Budget  # a list over seeds for each kind of cost

    @property
    def seeds(self) -> int:
        return len(jax.tree.leaves(self.params)[0])


@cache
def fresh(policy_config: Policy, seeds: int) -> Policies:
    """Returns untrained policies."""
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
    """Returns policies that cloned the expert's demonstrations, as in a run's warm start.

    Args:
      num_demos: size of a fixed set of demonstrations; 0: fresh ones in every update.
      noise: share of the demonstrated actions that is random.
    """
    warm_start = WarmStart(num_demos=num_demos, noise=noise)
    return _clone(tuple(parts(task).items()), policy_config, seeds, updates, warm_start)


@cache
def _clone(tasks, policy_config, seeds, updates, warm_start):
    task = dict(tasks) if len(tasks) > 1 else tasks[0][1]
    start = fresh(policy_config, seeds)
    return train_policies(start, task, policy_config, warm_start.algorithm, updates)[0]


def train_policies(
    start: Policies,
    task: Task,
    policy_config: Policy,
    algorithm: Algorithm,
    updates: int,
    problems: int = 0,
    every: int = 0,
) -> tuple[Policies, list[Entry]]:
    """Trains the policies for `updates` more, and returns them with the entries of the log.

    The first entry is of the start, and one follows for each update.

    Args:
      problems: size of the evaluations before and after training; 0: no evaluation.
      every: updates between further evaluations, a divisor of `updates`; 0: no others.
    Raises: Diverged, a ConfigError, if a loss or a gradient is not finite.
    """
    run = _run(algorithm, task, policy_config, updates, start.seeds, problems or 1, every)
    params = parallel.place(start.params, parallel.choose(1))
    begin = params, start.problems_seen, start.budget
    result = train(run, on_progress=progress.show, begin=begin, evaluates=problems > 0)
    budget = Budget({name: result.last[name] for name in BUDGET})
    problems_seen = int(result.state.drawn[0])
    return Policies(jax.device_get(result.state.params), problems_seen, budget), result.entries


def evaluate_policies(
    policies: Policies,
    task: Environment,
    policy_config: Policy,
    problems: int,
    attempts: int = 1,
    temperature: float = 1.0,
) -> Entry:
    """Returns success, return, accuracy and other metrics of each seed on unseen problems.

    `num_success` holds, for each problem, the number of attempts that succeeded.
    """
    programs = Programs(_run(algorithms.RLOO, task, policy_config, 1, policies.seeds, problems))
    params = parallel.place(policies.params, programs.devices)
    return programs.evaluate(params, attempts=attempts, temperature=temperature)


def play_test_episodes(
    policies: Policies, task: Environment, policy_config: Policy, problems: int
) -> Trajectory:
    """Returns an episode at each unseen problem, with the task's states: [S, N, 1, T, ...]."""
    return jax.device_get(_play(task, policy_config, problems, _keys(policies), policies.params))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _play(task, policy_config, problems, keys, params):
    def play(seed):
        key, params = seed
        agent, numbers = Sampler(policy_config, params), jnp.arange(problems)
        return rollout(task, agent, key, numbers, split="test", keep_states=True)

    return jax.lax.map(play, (keys, params))


def expert_log_probs(
    policies: Policies, task: Environment, policy_config: Policy, problems: int, noise: float = 0.0
) -> tuple[Tokens, Tokens]:
    """Returns the log-probability of each of the expert's tokens, and the entropy there (nats).

    The expert writes them at unseen problems; the policy reads along, in one teacher-forced pass.
    Both are 0 where there is no token. If one answer of one turn is right, exp of an episode's sum
    is the policy's success.

    Args: noise: share of the actions played that is random; the tokens read are still what the
      expert does in the states that follow. Only for actions of one token.
    """
    expert, keys = Expert(noise=noise), _keys(policies)
    return jax.device_get(
        _expert_log_probs(policy_config, problems, task, expert, keys, policies.params)
    )


@partial(jax.jit, static_argnums=(0, 1))
def _expert_log_probs(policy_config, problems, task, expert, keys, params):
    def read(seed):
        key, params = seed
        demos = rollout(task, expert, key, jnp.arange(problems), split="test")
        arrays = (*layout.tokens(demos), demos.label, demos.label_mask)
        token, valid, label, mask = (x[:, 0] for x in arrays)
        logits, _ = transformer.apply(policy_config, params, task.spec, token, valid)
        measured = log_prob_of(logits, label), loss_terms.entropy(logits)
        return tuple(jnp.where(mask, x, 0.0) for x in measured)

    return jax.lax.map(read, (keys, params))


def _keys(policies: Policies):
    seeds = np.arange(policies.seeds)
    return jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(seed), EVALUATE))(seeds)


def records(columns: dict[str, Num[np.ndarray, " S"] | list]) -> list[Record]:
    """Returns a record for each seed, from columns over seeds."""
    num_seeds = len(next(iter(columns.values())))
    return [
        {"seed": seed} | {name: np.asarray(x)[seed].item() for name, x in columns.items()}
        for seed in range(num_seeds)
    ]


def _run(
    algorithm: Algorithm,
    task: Task,
    policy_config: Policy,
    updates: int,
    seeds: int,
    problems: int,
    every: int = 0,
) -> Run:
    interval = every or updates
    return Run(
        task,
        algorithm,
        policy_config,
        updates=updates,
        seeds=seeds,
        eval_episodes=problems,
        eval_every=interval,
        checkpoint_every=updates,
        chunk=_chunk(interval),
        devices=1,
    )


def _chunk(updates: int) -> int:
    """Returns the largest divisor of `updates` up to 10.

    >>> _chunk(60), _chunk(7), _chunk(13)
    (10, 7, 1)
    """
    return max(n for n in range(1, 11) if updates % n == 0)
