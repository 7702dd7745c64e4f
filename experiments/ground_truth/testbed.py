"""Many batches of one policy at the same problems, with the true advantage of every token.

Any credit can be scored against them:

    bed = testbed.make(task, policy_config, params)
    scores = testbed.score(bed, testbed.algorithm_with(bed, MyCredit()))
    print_table(score_table.lines(scores), "MyCredit")

A batch's gradient is Σ credit · ∇ log π over its tokens, per episode: the credit alone, without
ratios, clips or weights of tokens. In markov context ∇ log π depends on state and token only. So
it is computed once for each visited pair, and the gradients of all batches are sums of these. The
exact gradient is that of the exact expected return (agentic_rl/exact/dynamic_programming.py).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl.algorithms import REINFORCE, Algorithm, swap
from agentic_rl.config import check
from agentic_rl.exact import dynamic_programming
from agentic_rl.exact.actions import alphabet
from agentic_rl.policy import transformer
from agentic_rl.policy.sampler import Sampler
from agentic_rl.policy.transformer import Policy
from agentic_rl.rng_streams import VALUES
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training.batch import make_batch
from agentic_rl.types import Environment, Trajectory, Value
from agentic_rl.values import NoValue, ValueContext
from experiments.ground_truth import quality
from experiments.ground_truth.one_step_gain import gains
from experiments.ground_truth.policy_gradients import log_prob_slopes, true_gradient
from experiments.reports.stats import Record

CAPACITY = 64  # most states before a turn of one problem
STEPS = 8  # batches whose one-step gain is measured


class Testbed(NamedTuple):
    """R batches of N problems x G attempts; arrays of tokens are [R, M], M = N·G·T·A."""

    task: Environment
    policy_config: Policy
    params: transformer.Params
    trajectory: Trajectory  # [R, N, G, ...]
    solution: dynamic_programming.Solution  # of the N problems
    truth: Float[np.ndarray, "R M"]  # the true advantage
    mask: Bool[np.ndarray, "R M"]
    spread: Float[np.ndarray, "R M"]  # the largest advantage in the state minus the least
    is_key: Bool[np.ndarray, "R M"]  # whether the task calls the turn a key decision
    state: Int[np.ndarray, "R M"]  # id of the state and the part of the action before the token
    pair: Int[np.ndarray, "R M"]  # id of state and token, the index into `slopes`
    slopes: Float[np.ndarray, "pairs W"]  # ∇ log π of each pair
    true: Float[np.ndarray, " W"]  # the exact gradient

    @property
    def capacity(self) -> int:
        """The largest number of states that a problem has before a turn."""
        return self.solution.graph.states.alive.shape[-1]

    @property
    def expected_return(self) -> float:
        """The policy's exact expected return, a mean over the problems."""
        return float(dynamic_programming.expected_return(self.solution.table).mean())


def make(
    task: Environment,
    policy_config: Policy,
    params: transformer.Params,
    shape: tuple[int, int, int] = (32, 4, 8),
    seed: int | PRNGKeyArray = 0,
) -> Testbed:
    """Plays batches, solves the task exactly, and returns the testbed.

    Args: shape: numbers of replicates, problems and attempts.

    Raises: ConfigError if the task has no exact values, or the policy reads its history.
    """
    check(
        policy_config.context == "markov",
        "A testbed needs a policy in markov context: Policy(context='markov'), or train it with "
        "--policy.context markov.",
    )
    dynamic_programming.check_possible(task, policy_config)
    key = jax.random.key(seed) if isinstance(seed, int) else seed
    pooled = _play(task, policy_config, params, shape, key)
    most = count_states(task, policy_config, pooled)
    solution = jax.jit(dynamic_programming.solve, static_argnums=(0, 1, 4))(
        task, policy_config, params, pooled, most
    )
    true = true_gradient(task, policy_config, params, pooled.prompt[:, 0], solution.graph)
    slopes_of = partial(log_prob_slopes, task, policy_config, params, pooled)
    return assemble(task, policy_config, params, pooled, solution, slopes_of, true, shape[0])


@partial(jax.jit, static_argnums=(0, 1, 3))
def _play(task, policy_config, params, shape, key) -> Trajectory:
    replicates, problems, attempts = shape
    sampler, problem = Sampler(policy_config, params), jnp.arange(problems)
    return rollout(task, sampler, key, problem, replicates * attempts, keep_states=True)


def count_states(task: Environment, policy_config: Policy, pooled: Trajectory) -> int:
    """Returns the largest number of states that a problem has before a turn.

    Raises: ConfigError if it is above CAPACITY.
    """
    most, name = int(_count(task, policy_config, pooled)), type(task).__name__
    check(
        most <= CAPACITY,
        f"{name} has {most} states a turn, a testbed {CAPACITY} at most: ask for a smaller task.",
    )
    return most


def assemble(
    task: Environment,
    policy_config: Policy,
    params: transformer.Params,
    pooled: Trajectory,
    solution: dynamic_programming.Solution,
    slopes_of: Callable[[Int[np.ndarray, " pairs"]], Float[np.ndarray, "pairs W"]],
    true: Float[Array, " W"],
    replicates: int,
) -> Testbed:
    """Returns the testbed of these episodes, which are [N, R·G, ...] with all batches pooled.

    Args: slopes_of: returns ∇ log π of the tokens with the given indices into [N, R·G, T, A].
    """
    by_batch = partial(_by_batch, replicates=replicates)
    shape = pooled.mask.shape
    mask, token = by_batch(pooled.mask), by_batch(pooled.action)
    problem, turn = np.broadcast_to(np.indices(shape)[[0, 2]], (2, *shape))
    places = solution.places
    before = (problem, turn, np.broadcast_to(places.state[..., None], shape), places.before)
    context = [by_batch(column) for column in before]
    state, _ = _number_tuples(context, mask)
    pair, first = _number_tuples([*context, token], mask)
    value, spread = _look_up(task, policy_config, pooled, solution)
    return Testbed(
        task=task,
        policy_config=policy_config,
        params=params,
        trajectory=jax.tree.map(lambda x: _split(x, replicates), pooled),
        solution=solution,
        truth=by_batch(value.after - value.before),
        mask=mask,
        spread=by_batch(spread),
        is_key=by_batch(np.broadcast_to(pooled.is_key[..., None], shape)),
        state=state,
        pair=pair,
        slopes=slopes_of(by_batch(np.arange(mask.size).reshape(shape)).ravel()[first]),
        true=np.asarray(true),
    )


@partial(jax.jit, static_argnums=(0, 1))
def _count(task, policy_config, pooled: Trajectory) -> Int[Array, ""]:
    state = jax.tree.map(lambda x: x[:, 0, 0], pooled.state)
    return dynamic_programming.explore(
        task, policy_config, state, pooled.observation[:, 0, 0], CAPACITY
    ).states.count.max()


@partial(jax.jit, static_argnums=(0, 1))
def _look_up(task, policy_config, pooled: Trajectory, solution: dynamic_programming.Solution):
    """Returns the values before and after each token, and the spread of its state."""
    acts, value, places = alphabet(task, policy_config), solution.table.value, solution.places
    at_stake = jnp.ptp(value[..., acts.child], axis=-1)  # [N, T, C, S]
    at_stake = jnp.concatenate([jnp.zeros_like(value[..., : len(acts.token)]), at_stake], axis=-1)
    turn = jnp.arange(task.spec.num_turns)[:, None]
    spread = jax.vmap(lambda table, state, before: table[turn, state[..., None], before])(
        at_stake, places.state, places.before
    )
    return dynamic_programming.values(solution, pooled), spread


def _split(x: Array, replicates: int) -> Array:
    """Returns [N, R·G, ...] as [R, N, G, ...]."""
    return jnp.moveaxis(jnp.asarray(x).reshape(len(x), replicates, -1, *x.shape[2:]), 1, 0)


def _by_batch(x: Array, replicates: int) -> np.ndarray:
    """Returns [N, R·G, T, A] as [R, M]."""
    return np.asarray(_split(x, replicates)).reshape(replicates, -1)


def _number_tuples(columns: list[np.ndarray], mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns an id for each distinct tuple, and the index at which each comes first.

    Only the entries of the mask count; elsewhere the id is 0.
    """
    tuples = np.stack([x[mask] for x in columns], axis=-1)
    _, first, number = np.unique(tuples, axis=0, return_index=True, return_inverse=True)
    out = np.zeros(mask.shape, int)
    out[mask] = number.ravel()
    return out, np.flatnonzero(mask)[first]


def algorithm_with(
    testbed: Testbed, credit: Any, values: Any = NoValue(), **parts: Any
) -> Algorithm:  # noqa: B008
    """Returns the algorithm with this credit, on batches of the testbed's size."""
    _, problems, attempts = testbed.trajectory.success.shape
    return swap(
        REINFORCE,
        credit=credit,
        values=values,
        problems=problems,
        attempts=attempts,
        minibatches=1,
        **parts,
    )


def credits(
    testbed: Testbed, algorithm: Algorithm, seed: int = 1
) -> tuple[Float[np.ndarray, "R M"], float]:
    """Returns the credit of each token of each batch, and a batch's mean environment steps.

    Environment steps include those of forks.
    """
    credit, steps = jax.jit(_credit, static_argnums=(0, 1))(
        testbed.task, testbed.policy_config, testbed.params, algorithm, testbed.trajectory, seed
    )
    return np.asarray(credit), float(np.mean(steps))


def _credit(task, policy_config, params, algorithm, trajectory, seed):
    def of_batch(numbered):
        r, batch = numbered
        credited = algorithm.reward(batch)
        context = _context(task, policy_config, params, batch, seed, r)
        value, costs = algorithm.values(context, credited)
        credit = make_batch(algorithm, credited._replace(state=()), value).credit
        return credit.ravel(), batch.mask.any(-1).sum() + costs.get("env_steps", 0)

    return jax.lax.map(of_batch, (jnp.arange(len(trajectory.prompt)), trajectory))


def _context(task, policy_config, params, batch: Trajectory, seed, r) -> ValueContext:
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), VALUES), r)
    return ValueContext(task, policy_config, params, jnp.arange(len(batch.prompt)), key)


def values(testbed: Testbed, source: Any, seed: int = 1) -> tuple[Value, float]:
    """Returns a value source's values before and after each token, and a batch's mean steps.

    Values are [R, M]. Environment steps include those of forks.
    """
    value, steps = jax.jit(_values, static_argnums=(0, 1))(
        testbed.task, testbed.policy_config, testbed.params, source, testbed.trajectory, seed
    )
    return jax.tree.map(np.asarray, value), float(np.mean(steps))


def _values(task, policy_config, params, source, trajectory, seed):
    def of_batch(numbered):
        r, batch = numbered
        value, costs = source(_context(task, policy_config, params, batch, seed, r), batch)
        flat = Value(value.before.ravel(), value.after.ravel(), value.discount)
        return flat, batch.mask.any(-1).sum() + costs.get("env_steps", 0)

    return jax.lax.map(of_batch, (jnp.arange(len(trajectory.prompt)), trajectory))


def gradients(testbed: Testbed, credit: Float[np.ndarray, "R M"]) -> Float[np.ndarray, "R W"]:
    """Returns each batch's Σ credit · ∇ log π, per episode."""
    weight = np.zeros((len(credit), len(testbed.slopes)), np.float32)
    for r, mask in enumerate(testbed.mask):
        np.add.at(weight[r], testbed.pair[r][mask], credit[r][mask])
    return weight @ testbed.slopes / np.prod(testbed.trajectory.success.shape[1:])


def score(testbed: Testbed, algorithm: Algorithm) -> Record:
    """Returns all measures of an algorithm's credit, and the standard errors of some ("_se").

    Most measures are described in experiments/ground_truth/quality.py. `gain` is what a step along
    a batch's gradient gains in exact expected return, over what one along the exact gradient
    gains, a mean over STEPS batches. `harm` is the share of losses in the sum of the gains' sizes.
    `env_steps` are those of a batch, forks included.
    """
    return score_credit(testbed, *credits(testbed, algorithm))


def score_credit(testbed: Testbed, credit: Float[np.ndarray, "R M"], steps: float) -> Record:
    """Returns the measures of `score` for any credit that cost so many steps a batch."""
    gradient, tokens = gradients(testbed, credit), (credit, testbed.truth, testbed.mask)
    bias = quality.bias(*tokens, testbed.pair)
    bias_in_state = quality.bias(*tokens, testbed.pair, testbed.state)
    small, true = quality.compact(gradient, testbed.true)
    gain = improvements(testbed, gradient[:STEPS])
    scores = {
        "bias": bias.raw,
        "bias_affine": bias.affine,
        "bias_in_state": bias_in_state.affine,
        "variance": quality.variance(*tokens, testbed.pair),
        "pearson": quality.pearson(*tokens),
        "kendall": quality.kendall(*tokens),
        "key_accuracy": quality.key_accuracy(*tokens, testbed.spread),
        "leakage": quality.leakage(credit, testbed.mask, testbed.spread),
        "key_share": quality.credit_share(credit, testbed.mask, testbed.is_key),
        "snr": quality.snr(small),
        "gain": float(gain.mean()),
        "gain_se": float(gain.std(ddof=1) / np.sqrt(len(gain))),
        "left_out": bias.left_out,
        "harm": float(np.maximum(-gain, 0).sum() / max(np.abs(gain).sum(), 1e-12)),
        "env_steps": steps,
    }
    measures = {
        "projection": lambda g: quality.projection(g, true),
        "cosine_bias": lambda g: quality.cosine_bias(g, true),
        "expected_cosine": lambda g: quality.expected_cosine(g, true),
        "signal_to_noise": quality.signal_to_noise,
    }
    for name, measure in measures.items():
        error = float(quality.jackknife(measure, small))
        scores |= {name: measure(small), f"{name}_se": error}
    return scores


def improvements(testbed: Testbed, gradient: Float[np.ndarray, "K W"]) -> Float[np.ndarray, " K"]:
    """Returns what one step along each gradient gains, over what one along the exact one gains.

    All steps have the same mean KL. A gradient of 0 gains 0. The result is NaN where no step has
    that KL, and everywhere if a step along the exact gradient gains nothing.
    """
    every = np.concatenate([testbed.true[None], gradient])
    length = np.linalg.norm(every, axis=1, keepdims=True)
    directions = every / np.maximum(length, 1e-12)
    prompt = testbed.trajectory.prompt[0, :, 0]
    gained = np.asarray(
        gains(
            testbed.task,
            testbed.policy_config,
            testbed.params,
            prompt,
            testbed.solution,
            directions,
        )
    )
    others = np.where(length[1:, 0] > 0, gained[1:], 0.0)
    return others / (gained[0] if gained[0] > 0 else np.nan)
