"""Policies to score credits on: clones of the expert that succeed about as often as asked."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import PRNGKeyArray

from agentic_rl import algorithms, parallel, rng_streams
from agentic_rl.algorithms import Algorithm, swap
from agentic_rl.config import check
from agentic_rl.optimizer import Adam
from agentic_rl.policy import transformer
from agentic_rl.policy.sampler import Sampler
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training import learner
from agentic_rl.training.loop import Log, RunChunk, run_chunks
from agentic_rl.types import Environment

MOST_UPDATES = 400  # of cloning, until the levels are reached
BANK = 16  # demonstrated problems, so few that a clone can reach any success on them
EPISODES = 512  # for measuring success on them
UNSEEN = 1024  # problems that a trained policy is evaluated on
FAR = 0.7  # largest distance of a clone from its level, in log odds: .33 to .67 for .5
PAST = 0.02  # cloning ends when success is so far above the highest level


@cache
def clones(
    task: Environment, policy_config: Policy, levels: tuple[float, ...], seed: int, problems: int
) -> dict[float, transformer.Params]:
    """Returns for each level the weights of the clone whose success came nearest to it.

    Success is measured at the first `problems` of the bank, before each update of one cloning.
    If the untrained policy succeeds more often than a level asks, it is the nearest.

    Raises: ConfigError if no clone is near a level, or one clone is the nearest to two.
    """
    algorithm = swap(
        algorithms.SFT,
        actor=Expert(BANK),
        problems=64,
        minibatches=1,
        optimizer=Adam(learning_rate=1e-3),
    )
    nearest = dict.fromkeys(levels, (np.inf, 0, None))  # level -> success, update, weights
    where = bank_key(seed), problems, EPISODES // problems, "train"

    def keep_nearest(step: int, state: learner.State, log: Log) -> bool:
        success = float(_success(task, policy_config, state.params, *where))
        for level in levels:
            if distance(success, level) < distance(nearest[level][0], level):
                nearest[level] = success, step, jax.device_get(state.params)
        return success > max(levels) + PAST

    state = learner.init(algorithm, transformer.init(policy_config, jax.random.key(seed)))
    if not keep_nearest(0, state, {}):
        update = _update(task, policy_config, algorithm, seed)
        run_chunks(update, state, range(1, MOST_UPDATES), keep_nearest)
    check_near(type(task).__name__, nearest)
    return {level: params for level, (_, _, params) in nearest.items()}


def distance(success: float, level: float) -> float:
    """Returns how far a success is from a level, in log odds."""
    return abs(log_odds(success) - log_odds(level))


def log_odds(success: float) -> float:
    """Returns log p / (1 − p), with p kept away from 0 and 1 by one in EPISODES."""
    return float(np.log(np.clip(success, 1 / EPISODES, 1) / np.clip(1 - success, 1 / EPISODES, 1)))


def check_near(name: str, nearest: dict[float, tuple[float, int, transformer.Params]]) -> None:
    """Raises ConfigError if a clone is far from its level, or stands for two levels.

    The untrained policy (update 0) may be far from its level.
    """
    far = [
        f"{level} (but {success:.2f})"
        for level, (success, update, _) in nearest.items()
        if update > 0 and distance(success, level) > FAR
    ]
    check(
        not far,
        f"No clone of {name} came near a success of {', '.join(far)} within {MOST_UPDATES} "
        "updates: ask for other levels.",
    )
    same = len({update for _, update, _ in nearest.values()}) < len(nearest)
    check(
        not same,
        f"One clone of {name} is the nearest to two of the levels: ask for levels further apart.",
    )


def bank_key(seed: int) -> PRNGKeyArray:
    """Returns the key whose first BANK problems are demonstrated."""
    return jax.random.fold_in(jax.random.key(seed), rng_streams.DEMONSTRATE)


def train_further(
    task: Environment,
    policy_config: Policy,
    algorithm: Algorithm,
    params: transformer.Params,
    updates: int,
    seed: int,
) -> transformer.Params:
    """Returns the weights after so many updates of an algorithm, starting from `params`."""
    state = learner.init(algorithm, jax.tree.map(jnp.asarray, params))
    update = _update(task, policy_config, algorithm, seed)
    return run_chunks(update, state, range(1, updates + 1)).params


def measure_success(
    task: Environment, policy_config: Policy, params: transformer.Params, seed: int
) -> float:
    """Returns the success of a policy on unseen problems, one episode each."""
    return float(_success(task, policy_config, params, jax.random.key(seed), UNSEEN, 1, "test"))


@partial(jax.jit, static_argnums=(0, 1, 4, 5, 6))
def _success(task, policy_config, params, key, problems, attempts, split):
    sampler = Sampler(policy_config, params)
    return rollout(task, sampler, key, jnp.arange(problems), attempts, split).success.mean()


def _update(task: Environment, policy_config: Policy, algorithm: Algorithm, seed: int) -> RunChunk:
    """Returns a function that makes one update."""
    program = _update_program(task, policy_config, algorithm)
    return lambda state: (program(jnp.int32(seed), state), {})


@cache
def _update_program(task, policy_config, algorithm):
    """Returns one update as a function of seed and state, compiled once for each algorithm."""
    setup = learner.setup(policy_config, algorithm, 1, 0)

    def update(seed, state):
        return learner.update(setup, task, algorithm, jax.random.key(seed), state)[0]

    return parallel.launch(update, parallel.choose(1), "pmap")


def fit_critic(
    task: Environment,
    policy_config: Policy,
    params: transformer.Params,
    seed: int,
    scored: int,
    ridge: float = 1.0,
) -> transformer.Params:
    """Returns the weights with a value head that is fitted to rewards to go.

    The fit is ridge regression on the policy's own features. It uses EPISODES episodes at the
    problems of the bank after the first `scored`, which no budget is charged for.
    """
    moments = _moments(task, policy_config, params, bank_key(seed), scored)
    gram, target = (np.asarray(x, float) for x in moments)
    solved = np.linalg.solve(gram + ridge * np.eye(len(gram)), target)
    _, unravel = ravel_pytree(params["value_head"])
    return params | {"value_head": unravel(jnp.asarray(solved, jnp.float32))}


@partial(jax.jit, static_argnums=(0, 1, 4))
def _moments(task, policy_config, params, key, scored):
    """Returns the Gram matrix of the tokens' features, and their products with rewards to go."""
    problems = jnp.arange(scored, BANK)
    sampler, attempts = Sampler(policy_config, params), EPISODES // len(problems)
    trajectory = rollout(task, sampler, key, problems, attempts)
    to_go = jnp.flip(jnp.cumsum(jnp.flip(trajectory.reward, -1), -1), -1)
    head, unravel = ravel_pytree(params["value_head"])
    spec = task.spec._replace(num_turns=1)

    def features(prompt, observation, action, mask):
        def value(head):
            token = jnp.concatenate([prompt, observation, action])[None]
            valid = jnp.concatenate([jnp.ones(len(prompt) + len(observation), bool), mask])[None]
            return transformer.apply(
                policy_config, params | {"value_head": unravel(head)}, spec, token, valid
            )[1][0, 0]

        return jax.jacrev(value)(head)

    prompt = jnp.broadcast_to(
        trajectory.prompt[:, :, None],
        (*trajectory.observation.shape[:3], trajectory.prompt.shape[-1]),
    )
    columns = (prompt, trajectory.observation, trajectory.action, trajectory.mask)
    turns = [column.reshape(-1, column.shape[-1]) for column in columns]
    x = jax.lax.map(lambda turn: features(*turn), turns, batch_size=64)
    weight = trajectory.mask.reshape(-1, trajectory.mask.shape[-1])[..., None] * x
    return jnp.einsum("bai,baj->ij", weight, x), jnp.einsum("bai,b->i", weight, to_go.ravel())
