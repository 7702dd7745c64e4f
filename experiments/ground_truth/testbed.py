"""Many batches of one policy at the same problems, with the truth about every token: what any credit is scored against.

    bed = testbed.make(task, policy_config, params)
    print_table(score_table.lines(testbed.score(bed, testbed.row(bed, MyCredit()))), "MyCredit")

A batch's gradient is Σ credit · ∇ log π over its tokens, per episode: the credit alone, without ratios, clips or weights of tokens. In
markov context ∇ log π depends on state and token only, so it is computed once for each pair that was visited, and the gradients of all
batches are sums of these. The exact gradient is that of the exact expected return. (agentic_rl/exact/dynamic_programming.py)
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
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
from agentic_rl.training.experience import make_batch
from agentic_rl.types import Environment, Trajectory, Value
from agentic_rl.values import NoValue, ValueContext
from experiments.ground_truth import quality
from experiments.reports.stats import Record

CAPACITY = 64  # states before a turn of one problem, at most
DIVERGENCE = 0.001  # nats a decision: the length of the one step whose gain is measured; at .01 the exact gradient overshoots at times
STEPS = 8  # batches whose step is taken
LENGTHS, HALVINGS = (1e-5, 10.0), 18  # the step of that length is looked for between these


class Testbed(NamedTuple):
    """R batches of N problems x G attempts; arrays of tokens are [R, M], M = N·G·T·A."""

    task: Environment
    policy_config: Policy
    params: transformer.Params
    trajectory: Trajectory  # [R, N, G, ...]
    solution: dynamic_programming.Solution  # of the N problems
    truth: Float[np.ndarray, "R M"]  # the advantage
    mask: Bool[np.ndarray, "R M"]
    spread: Float[np.ndarray, "R M"]  # the largest advantage in the state minus the least
    is_key: Bool[np.ndarray, "R M"]  # as the task says
    state: Int[np.ndarray, "R M"]  # and what of the action is written
    pair: Int[np.ndarray, "R M"]  # row of `slopes`
    slopes: Float[np.ndarray, "pairs W"]  # ∇ log π of each pair
    true: Float[np.ndarray, " W"]  # the exact gradient

    @property
    def capacity(self) -> int:
        """The most states that a problem has before a turn."""
        return self.solution.graph.states.alive.shape[-1]

    @property
    def expected_return(self) -> float:
        """Mean over the problems."""
        return float(dynamic_programming.expected_return(self.solution.table).mean())


def make(
    task: Environment,
    policy_config: Policy,
    params: transformer.Params,
    shape: tuple[int, int, int] = (32, 4, 8),
    seed: int | PRNGKeyArray = 0,
) -> Testbed:
    """A test bed of `shape` (replicates, problems, attempts).

    Raises: ConfigError if the task has no exact values, or the policy remembers.
    """
    check(
        policy_config.context == "markov",
        "A test bed needs a policy in markov context: Policy(context='markov'), or train it with --policy.context markov.",
    )
    dynamic_programming.check_possible(task, policy_config)
    key = jax.random.key(seed) if isinstance(seed, int) else seed
    together = _play(task, policy_config, params, shape, key)
    most = count(task, policy_config, together)
    solution = jax.jit(dynamic_programming.solve, static_argnums=(0, 1, 4))(
        task, policy_config, params, together, most
    )
    true = _true_gradient(task, policy_config, params, together.prompt[:, 0], solution.graph)
    return assemble(
        task,
        policy_config,
        params,
        together,
        solution,
        partial(_slopes, task, policy_config, params, together),
        true,
        shape[0],
    )


@partial(jax.jit, static_argnums=(0, 1, 3))
def _play(task, policy_config, params, shape, key) -> Trajectory:
    replicates, problems, attempts = shape
    return rollout(
        task,
        Sampler(policy_config, params),
        key,
        jnp.arange(problems),
        replicates * attempts,
        keep_states=True,
    )


def count(task: Environment, policy_config: Policy, together: Trajectory) -> int:
    """The most states that a problem has before a turn.

    Raises: ConfigError if they are too many.
    """
    most, name = int(_count(task, policy_config, together)), type(task).__name__
    check(
        most <= CAPACITY,
        f"{name} has {most} states a turn, a test bed {CAPACITY} at most: ask for a smaller task.",
    )
    return most


def assemble(
    task, policy_config, params, together: Trajectory, solution: dynamic_programming.Solution, slopes_of, true: Float[Array, " W"], replicates: int
) -> Testbed:  # fmt: skip
    """The bed of these episodes; `slopes_of`: the gradients of the log-probabilities of tokens, by their number in [N, R·G, T, A]."""
    found, spread = _look_up(task, policy_config, together, solution)
    places, row = solution.places, partial(_by_batch, replicates=replicates)
    mask, token = row(together.mask), row(together.action)
    problem, turn = np.broadcast_to(
        np.indices(together.mask.shape)[[0, 2]], (2, *together.mask.shape)
    )
    context = [
        row(x)
        for x in (
            problem,
            turn,
            np.broadcast_to(places.state[..., None], problem.shape),
            places.before,
        )
    ]
    state, _ = _number_tuples(context, mask)
    pair, first = _number_tuples([*context, token], mask)
    return Testbed(
        task, policy_config, params, jax.tree.map(lambda x: _split(x, replicates), together), solution, row(found.after - found.before), mask,
        row(spread), row(np.broadcast_to(together.is_key[..., None], problem.shape)), state, pair,
        slopes_of(row(np.arange(mask.size).reshape(problem.shape)).ravel()[first]), np.asarray(true),
    )  # fmt: skip


@partial(jax.jit, static_argnums=(0, 1))
def _count(task, policy_config, together: Trajectory) -> Int[Array, ""]:
    state = jax.tree.map(lambda x: x[:, 0, 0], together.state)
    return dynamic_programming.explore(
        task, policy_config, state, together.observation[:, 0, 0], CAPACITY
    ).states.count.max()


@partial(jax.jit, static_argnums=(0, 1))
def _look_up(task, policy_config, together: Trajectory, solution: dynamic_programming.Solution):
    """The values of the tokens, and what was at stake."""
    acts, value, places = (
        alphabet(task, policy_config),
        solution.table.value,
        solution.places,
    )
    at_stake = jnp.ptp(value[..., acts.child], axis=-1)  # [N, T, C, S]
    at_stake = jnp.concatenate([jnp.zeros_like(value[..., : len(acts.token)]), at_stake], axis=-1)
    turn = jnp.arange(task.spec.num_turns)[:, None]
    spread = jax.vmap(lambda table, state, before: table[turn, state[..., None], before])(
        at_stake, places.state, places.before
    )
    return dynamic_programming.values(solution, together), spread


def _split(x: Array, replicates: int) -> Array:
    """[N, R·G, ...] as [R, N, G, ...]."""
    return jnp.moveaxis(jnp.asarray(x).reshape(len(x), replicates, -1, *x.shape[2:]), 1, 0)


def _by_batch(x: Array, replicates: int) -> np.ndarray:
    """[N, R·G, T, A] as [R, M]."""
    return np.asarray(_split(x, replicates)).reshape(replicates, -1)


def _number_tuples(columns: list[np.ndarray], mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A number for each distinct tuple of what is not masked (0 where masked), and where each comes first."""
    rows = np.stack([x[mask] for x in columns], axis=-1)
    _, first, number = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    out = np.zeros(mask.shape, int)
    out[mask] = number.ravel()
    return out, np.flatnonzero(mask)[first]


def _slopes(task, policy_config, params, together: Trajectory, index: np.ndarray) -> np.ndarray:
    """∇ log π of the tokens with these numbers, [pairs, W]."""
    n, b, t, a = np.unravel_index(index, together.mask.shape)
    turn = together.observation[n, b, t], together.action[n, b, t], together.mask[n, b, t]
    return np.asarray(
        _slope_of_each(
            policy_config,
            task.spec._replace(num_turns=1),
            params,
            (together.prompt[n, b], *turn, jnp.asarray(a)),
        )
    )


@partial(jax.jit, static_argnums=(0, 1))
def _slope_of_each(policy_config, spec, params, tokens):
    def log_prob(params, prompt, observation, action, mask, a):
        token = jnp.concatenate([prompt, observation, action])[None]
        valid = jnp.concatenate([jnp.ones(len(prompt) + len(observation), bool), mask])[None]
        return jax.nn.log_softmax(
            transformer.apply(policy_config, params, spec, token, valid)[0][0, 0, a]
        )[action[a]]

    return jax.lax.map(
        lambda x: ravel_pytree(jax.grad(log_prob)(params, *x))[0], tokens, batch_size=16
    )


@partial(jax.jit, static_argnums=(0, 1))
def _true_gradient(task, policy_config, params, prompt, graph) -> Float[Array, " W"]:
    def expected_return(params):
        return dynamic_programming.expected_return(
            dynamic_programming.tabulate(task, policy_config, params, prompt, graph)
        ).mean()

    return ravel_pytree(jax.grad(expected_return)(params))[0]


def algorithm_with(bed: Testbed, credit: Any, values: Any = NoValue(), **parts: Any) -> Algorithm:  # noqa: B008
    """The algorithm with this credit, on batches of the bed's size."""
    _, problems, attempts = bed.trajectory.success.shape
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
    bed: Testbed, algorithm: Algorithm, seed: int = 1
) -> tuple[Float[np.ndarray, "R M"], float]:
    """What the row credits the tokens of each batch with, and the environment steps of a batch, forks included."""
    credit, steps = jax.jit(_credit, static_argnums=(0, 1))(
        bed.task, bed.policy_config, bed.params, algorithm, bed.trajectory, seed
    )
    return np.asarray(credit), float(np.mean(steps))


def _credit(task, policy_config, params, algorithm, trajectory, seed):
    def one(numbered):
        r, made = numbered
        credited = algorithm.reward(made)
        value, spent = algorithm.values(
            _world(task, policy_config, params, made, seed, r), credited
        )
        batch = make_batch(algorithm, credited._replace(state=()), value)
        return batch.credit.ravel(), made.mask.any(-1).sum() + spent.get("env_steps", 0)

    return jax.lax.map(one, (jnp.arange(len(trajectory.prompt)), trajectory))


def _world(task, policy_config, params, made: Trajectory, seed, r) -> ValueContext:
    return ValueContext(
        task,
        policy_config,
        params,
        jnp.arange(len(made.prompt)),
        jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), VALUES), r),
    )


def values(bed: Testbed, source: Any, seed: int = 1) -> tuple[Value, float]:
    """What a value source says before and after each token, [R, M] each, and the environment steps of a batch, forks included."""
    value, steps = jax.jit(_values, static_argnums=(0, 1))(
        bed.task, bed.policy_config, bed.params, source, bed.trajectory, seed
    )
    return jax.tree.map(np.asarray, value), float(np.mean(steps))


def _values(task, policy_config, params, source, trajectory, seed):
    def one(numbered):
        r, made = numbered
        value, spent = source(_world(task, policy_config, params, made, seed, r), made)
        flat = Value(value.before.ravel(), value.after.ravel(), value.discount)
        return flat, made.mask.any(-1).sum() + spent.get("env_steps", 0)

    return jax.lax.map(one, (jnp.arange(len(trajectory.prompt)), trajectory))


def gradients(bed: Testbed, credit: Float[np.ndarray, "R M"]) -> Float[np.ndarray, "R W"]:
    """Each batch's Σ credit · ∇ log π, per episode."""
    weight = np.zeros((len(credit), len(bed.slopes)), np.float32)
    for one, pair, given, mask in zip(weight, bed.pair, credit, bed.mask):
        np.add.at(one, pair[mask], given[mask])
    return weight @ bed.slopes / np.prod(bed.trajectory.success.shape[1:])


def score(bed: Testbed, algorithm: Algorithm) -> Record:
    """All measures of a row's credit (experiments/ground_truth/quality.py), and the standard errors of some ("_se").

    And `gain`: what a step of DIVERGENCE along each of STEPS gradients gains in exact expected return, over what one along the exact
    gradient does; `harm`: the share of losses in the sum of the gains' sizes; `env_steps` of a batch, forks included.
    """
    return measures(bed, *credits(bed, algorithm))


def measures(bed: Testbed, credit: Float[np.ndarray, "R M"], steps: float) -> Record:
    """The same of a credit however it was made, which cost `steps` environment steps a batch."""
    gradient, tokens = gradients(bed, credit), (credit, bed.truth, bed.mask)
    bias, small = quality.bias(*tokens, bed.pair), quality.compact(gradient, bed.true)
    of_state = quality.bias(*tokens, bed.pair, bed.state)
    gain = improvements(bed, gradient[:STEPS])
    found = {
        "bias": bias.raw, "bias_affine": bias.affine, "bias_in_state": of_state.affine, "variance": quality.variance(*tokens, bed.pair),
        "pearson": quality.pearson(*tokens), "kendall": quality.kendall(*tokens), "key_accuracy": quality.key_accuracy(*tokens, bed.spread),
        "leakage": quality.leakage(credit, bed.mask, bed.spread), "key_share": quality.credit_share(credit, bed.mask, bed.is_key),
        "snr": quality.snr(small[0]), "gain": float(gain.mean()), "gain_se": float(gain.std(ddof=1) / np.sqrt(len(gain))),
        "left_out": bias.left_out,
        "harm": float(np.maximum(-gain, 0).sum() / max(np.abs(gain).sum(), 1e-12)), "env_steps": steps,
    }  # fmt: skip
    for name in ("projection", "cosine_bias", "expected_cosine"):
        measure = getattr(quality, name)
        found |= {
            name: measure(*small),
            f"{name}_se": float(quality.jackknife(lambda g, f=measure: f(g, small[1]), small[0])),
        }
    ratio = quality.signal_to_noise
    return found | {
        "signal_to_noise": ratio(small[0]),
        "signal_to_noise_se": float(quality.jackknife(ratio, small[0])),
    }


def improvements(bed: Testbed, gradient: Float[np.ndarray, "K W"]) -> Float[np.ndarray, " K"]:
    """What one step along each gradient gains, over what one along the exact gradient does, all at the same mean KL.

    0 for no gradient; NaN where no step has that KL, or the exact gradient's gains nothing.
    """
    every = np.concatenate([bed.true[None], gradient])
    length = np.linalg.norm(every, axis=1, keepdims=True)
    gained = np.asarray(
        _gains(
            bed.task,
            bed.policy_config,
            bed.params,
            bed.trajectory.prompt[0, :, 0],
            bed.solution,
            every / np.maximum(length, 1e-12),
        )
    )
    return np.where(length[1:, 0] > 0, gained[1:], 0.0) / (gained[0] if gained[0] > 0 else np.nan)


@partial(jax.jit, static_argnums=(0, 1))
def _gains(task, policy_config, params, prompt, solution: dynamic_programming.Solution, directions):
    """The exact change of the expected return after a step of DIVERGENCE nats along each direction."""
    flat, unravel = ravel_pytree(params)
    old, acts = solution.table.log_prob, alphabet(task, policy_config)
    state, place = jax.vmap(lambda g, p: dynamic_programming.visit_probabilities(acts, g, p))(
        solution.graph, old
    )
    weight = state[..., None] * place[..., len(acts.token) :]

    def step(direction, length):
        new = dynamic_programming.tabulate(
            task, policy_config, unravel(flat + length * direction), prompt, solution.graph
        )
        divergence = (jnp.exp(old) * (old - new.log_prob)).sum(-1)
        return dynamic_programming.expected_return(new).mean(), (
            weight * divergence
        ).sum() / weight.sum()

    def halve(direction, ends, _):
        middle = ends.mean()
        return jnp.where(
            step(direction, jnp.exp(middle))[1] > DIVERGENCE,
            ends.at[1].set(middle),
            ends.at[0].set(middle),
        ), None

    def gain(direction):
        ends = jax.lax.scan(
            partial(halve, direction), jnp.log(jnp.array(LENGTHS)), length=HALVINGS
        )[0]
        value, divergence = step(direction, jnp.exp(ends.mean()))
        right = jnp.abs(divergence / DIVERGENCE - 1) < 0.05
        return jnp.where(
            right, value - dynamic_programming.expected_return(solution.table).mean(), jnp.nan
        )

    return jax.lax.map(gain, directions)
