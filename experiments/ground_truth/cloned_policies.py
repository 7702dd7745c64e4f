"""Policies to score credits on: clones of the expert that succeed about as often as asked, and what a row makes of them."""

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
from agentic_rl.types import Environment

MOST_UPDATES = 400  # of cloning, until the levels are reached
BANK = 16  # problems that are demonstrated, so few that a clone can come to any success on them
EPISODES = 512  # to measure it
UNSEEN = 1024  # problems that a trained policy is judged on
FAR = 0.7  # from a level, in log odds, no clone may be that stands for it: .33 to .67 for .5
PAST = 0.02  # above the highest level the cloning ends


@cache
def clones(
    task: Environment, policy_config: Policy, levels: tuple[float, ...], seed: int, problems: int
) -> dict[float, transformer.Params]:
    """For each level the weights, of all clones on the way, whose success at the first `problems` of the bank came nearest.

    That is the untrained policy, where it succeeds more often than asked.

    Raises: ConfigError if cloning does not come near a level, or one clone would stand for two.
    """
    row = swap(
        algorithms.SFT,
        actor=Expert(BANK),
        problems=64,
        minibatches=1,
        optimizer=Adam(learning_rate=1e-3),
    )
    state = learner.init(row, transformer.init(policy_config, jax.random.key(seed)))
    found = dict.fromkeys(levels, (np.inf, 0, None))
    for i in range(MOST_UPDATES):
        success = float(
            _success(
                task,
                policy_config,
                state.params,
                bank(seed),
                problems,
                EPISODES // problems,
                "train",
            )
        )
        nearer = {
            level
            for level, (best, _, _) in found.items()
            if abs(odds(success) - odds(level)) < abs(odds(best) - odds(level))
        }
        found |= {level: (success, i, jax.device_get(state.params)) for level in nearer}
        if success > max(levels) + PAST:
            break
        state = _update(task, policy_config, row)(jnp.int32(seed), state)
    check_near(type(task).__name__, found)
    return {level: params for level, (_, _, params) in found.items()}


def odds(success: float) -> float:
    """log p / (1 − p), as far as EPISODES can tell."""
    return float(np.log(np.clip(success, 1 / EPISODES, 1) / np.clip(1 - success, 1 / EPISODES, 1)))


def check_near(name: str, found: dict[float, tuple[float, int, transformer.Params]]) -> None:
    """Raises: ConfigError if success, or which clone it is, belies a level."""
    far = [
        f"{level} (but {p:.2f})"
        for level, (p, i, _) in found.items()
        if i > 0 and abs(odds(p) - odds(level)) > FAR
    ]
    check(
        not far,
        f"No clone of {name} came near a success of {', '.join(far)} within {MOST_UPDATES} updates: ask for other levels.",
    )
    same = len({i for _, i, _ in found.values()}) < len(found)
    check(
        not same,
        f"One clone of {name} is the nearest to two of the levels: ask for levels further apart.",
    )


def bank(seed: int) -> PRNGKeyArray:
    """The key whose first BANK problems are demonstrated."""
    return jax.random.fold_in(jax.random.key(seed), rng_streams.DEMONSTRATE)


def train_further(
    task: Environment,
    policy_config: Policy,
    row: Algorithm,
    params: transformer.Params,
    updates: int,
    seed: int,
) -> transformer.Params:
    """The weights after so many updates of a row from these."""
    state = learner.init(row, jax.tree.map(jnp.asarray, params))
    for _ in range(updates):
        state = _update(task, policy_config, row)(jnp.int32(seed), state)
    return state.params


def measure_success(
    task: Environment, policy_config: Policy, params: transformer.Params, seed: int
) -> float:
    """The success of a policy on unseen problems."""
    return float(_success(task, policy_config, params, jax.random.key(seed), UNSEEN, 1, "test"))


@partial(jax.jit, static_argnums=(0, 1, 4, 5, 6))
def _success(task, policy_config, params, key, problems, attempts, split):
    return rollout(
        task, Sampler(policy_config, params), key, jnp.arange(problems), attempts, split
    ).success.mean()


@cache
def _update(task, policy_config, row):
    """One update, compiled once for each row, as a function of seed and state."""
    setup = learner.setup(policy_config, row, 1, 0)
    one = lambda seed, state: learner.update(setup, task, row, jax.random.key(seed), state)[0]  # noqa: E731
    return parallel.launch(one, parallel.choose(1), "pmap")


def with_critic(
    task: Environment,
    policy_config: Policy,
    params: transformer.Params,
    seed: int,
    scored: int,
    ridge: float = 1.0,
) -> transformer.Params:
    """The weights with a value head fitted to rewards to go, by least squares on the policy's own features.

    On 512 episodes at the problems of the bank behind the first `scored`, which no budget is charged.
    """
    moments = _moments(task, policy_config, params, bank(seed), scored)
    gram, target = (np.asarray(x, float) for x in moments)
    solved = np.linalg.solve(gram + ridge * np.eye(len(gram)), target)
    _, unravel = ravel_pytree(params["value_head"])
    return params | {"value_head": unravel(jnp.asarray(solved, jnp.float32))}


@partial(jax.jit, static_argnums=(0, 1, 4))
def _moments(task, policy_config, params, key, scored):
    made = rollout(
        task,
        Sampler(policy_config, params),
        key,
        jnp.arange(scored, BANK),
        EPISODES // (BANK - scored),
    )
    to_go = jnp.flip(jnp.cumsum(jnp.flip(made.reward, -1), -1), -1)
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
        made.prompt[:, :, None], (*made.observation.shape[:3], made.prompt.shape[-1])
    )
    x = jax.lax.map(
        lambda r: features(*r),
        [v.reshape(-1, v.shape[-1]) for v in (prompt, made.observation, made.action, made.mask)],
        batch_size=64,
    )
    weight = made.mask.reshape(-1, made.mask.shape[-1])[..., None] * x
    return jnp.einsum("bai,baj->ij", weight, x), jnp.einsum("bai,b->i", weight, to_go.ravel())
