"""Bias, exactly: over all token sequences of a tiny task, is the expected update the gradient of the expected return?

Two problems, two turns of one token; one first token ends the episode. All 4033 episodes of each problem are enumerated and the
gradient goes through the learner's own loss, in float64, with each episode's probability as its weight. A group's credit is
averaged over all returns that the other attempts can have.
"""

import itertools
import math
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import algorithms, learner, losses, tokens, values
from agentic_rl.credit.gae import GAE
from agentic_rl.credit.group import GroupRelative, LeaveOneOut
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.credit.supervised import SuccessOnly
from agentic_rl.policy import Policy
from agentic_rl.types import Spec, Trajectory, Value
from tests.toys import compiled, weights

TINY = Policy(width=8, layers=1, heads=2, mlp=8)
SPEC = Spec(2, 1, 1, 2, ())
STOP = tokens.DONE  # as the first token: the episode is over
V = tokens.VOCABULARY
SETUP = learner.setup(TINY, algorithms.REINFORCE, 1, 0)
EXACT = GroupRelative(eps=1e-12, ddof=0)  # so small an eps only makes 0 / 0 be 0


class World(NamedTuple):
    """Everything there is, computed once by `world` in float64."""

    params: dict
    trajectory: Trajectory  # all episodes of both problems, [N=2, G=4033, ...]
    probability: np.ndarray  # of each episode given its problem, [N, G]
    per_problem: np.ndarray  # the gradient of each problem's expected return, [N, weights]
    gradient: np.ndarray  # of their mean


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def episodes(binary):
    """All episodes of both problems; rewards in every turn, or 0 and 1 at the end (rarely in problem 0, often in problem 1)."""
    pairs = [(STOP, tokens.PAD)] + [(a, b) for a in range(V) if a != STOP for b in range(V)]
    first, second = np.array(pairs).T
    mask = np.stack([np.ones_like(first, bool), first != STOP], axis=-1)
    if binary:
        wins = np.stack([(first % 8 == 1) & (second % 4 == 1), (first + second) % 2 == 1]) & mask[:, 1]
        reward = np.stack([np.zeros_like(wins), wins], axis=-1).astype(float)
    else:
        table = np.random.default_rng(0).integers(-1, 3, (2, V, V))
        reward = np.stack([table[:, first, 0], table[:, second, first]], axis=-1) * mask * 0.5
    both = (2, len(pairs))
    prompt = np.broadcast_to(np.array([[tokens.BOS, tokens.value(n)] for n in range(2)])[:, None], (*both, 2))
    observation = np.broadcast_to(np.stack([np.full_like(first, tokens.OBS), tokens.value(first % 16)], -1), (*both, 2))
    action, mask = (np.broadcast_to(x, (*both, 2))[..., None] for x in (np.stack([first, second], -1), mask))
    made = dict(prompt=prompt, observation=observation[..., None], action=action, mask=mask, reward=reward, success=reward.sum(-1) > 0.5)
    nothing = np.zeros(mask.shape)
    made |= dict(log_prob=nothing, reference_log_prob=nothing, label=action, label_mask=mask, anchor=observation, is_key=mask[..., 0])
    return Trajectory(**{name: jnp.asarray(x) for name, x in made.items()})


def vector(tree):
    """A gradient as one vector."""
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


@cache
def world(binary=False) -> World:
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), weights(TINY))
    made = episodes(binary)
    batch, total = learner.make_batch(algorithms.REINFORCE, made, None), made.reward.sum(-1)

    def expected_return(params):
        log_prob, _, _ = learner.predict(SETUP, SPEC, algorithms.REINFORCE, params, batch)
        probability = jnp.exp(jnp.where(batch.mask, log_prob, 0.0).sum((1, 2))).reshape(total.shape)
        return (probability * total).sum(-1), probability

    slopes, probability = compiled(jax.jacrev(expected_return, has_aux=True))(params)
    np.testing.assert_allclose(probability.sum(-1), 1, rtol=1e-12)  # nothing was forgotten, nothing counted twice
    slopes = np.stack([vector(jax.tree.map(lambda x: x[n], slopes)) for n in range(2)])
    return World(params, made, np.asarray(probability), slopes, slopes.mean(0))


@cache
def slope():
    """The gradient of the learner's loss; compiled once for all credits."""
    return compiled(jax.grad(lambda params, *rows: learner.loss(SETUP, SPEC, algorithms.REINFORCE, params, *rows)[0]))


def expected_update(here: World, credit, value=None, share=1.0):
    """E[Σ credit · ∇ log π], mean over problems; `credit` is a credit assignment, or [N, G] numbers."""
    value = value or values.NoValue()(TINY, here.params, SPEC, here.trajectory)
    is_config = callable(credit)
    row = algorithms.swap(algorithms.REINFORCE, credit=credit if is_config else RewardToGo(), values=values.Critic(), attempts=8)
    batch = learner.make_batch(row, here.trajectory, value)
    if not is_config:
        batch = batch._replace(credit=jnp.where(batch.mask, credit.reshape(-1, 1, 1), 0.0))
    weight = jnp.broadcast_to(share * here.probability.reshape(-1, 1, 1) / 2, batch.mask.shape)
    return -vector(slope()(here.params, batch, weight, weight))


def group_credit(credit, here: World, attempts):
    """Each episode's expected credit over all returns of the other attempts, [N, G]."""
    total = np.asarray(here.trajectory.reward.sum(-1))
    levels, level = np.unique(total, return_inverse=True)
    chance = np.stack([np.bincount(x, p, len(levels)) for x, p in zip(level.reshape(total.shape), here.probability)])
    others = np.array(list(itertools.product(range(len(levels)), repeat=attempts - 1)))
    weight = np.prod(chance[:, others], axis=-1)  # [N, combinations]
    groups = np.stack([np.insert(others, 0, own, axis=1) for own in range(len(levels))])
    credited = of_returns(credit, levels[groups.reshape(-1, attempts)])[:, 0].reshape(groups.shape[:2])
    return np.take_along_axis(weight @ credited.T, level.reshape(total.shape), axis=1)


def of_returns(credit, returns):
    """The credit of groups of one-turn episodes with the given returns, [groups, attempts]."""
    mask = jnp.ones((*returns.shape, 1, 1), bool)
    made = Trajectory(*[None] * len(Trajectory._fields))._replace(reward=jnp.asarray(returns, float)[..., None], mask=mask)
    zeros = jnp.zeros(mask.shape)
    return np.asarray(credit(made, Value(zeros, zeros, jnp.float32(1))))[..., 0]


def error(found, truth):
    """Relative to the truth's length."""
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


def direction_error(found, truth):
    """The same at the best length: what no learning rate repairs."""
    return error(found * (found @ truth) / (found @ found), truth)


def scale(attempts, p):
    """c_G(p) = E[std of G rewards] / (p(1-p)): how much GRPO magnifies the gradient of a problem solved with probability p."""
    wins = np.arange(attempts + 1)
    chance = np.array([math.comb(attempts, k) for k in wins]) * p**wins * (1 - p) ** (attempts - wins)
    mean = wins / attempts
    return (chance * np.sqrt(mean * (1 - mean))).sum() / (p * (1 - p))


@pytest.mark.parametrize("binary", [False, True])
def test_reinforce_is_unbiased(binary):
    here = world(binary)
    assert error(expected_update(here, RewardToGo()), here.gradient) < 1e-8


def test_crediting_the_whole_return_is_unbiased_and_a_constant_credit_expects_nothing():
    here = world()
    total = np.asarray(here.trajectory.reward.sum(-1))
    assert error(expected_update(here, total), here.gradient) < 1e-8
    assert np.linalg.norm(expected_update(here, np.ones_like(total))) < 1e-8


def test_a_discount_is_a_bias():
    here = world()
    assert direction_error(expected_update(here, RewardToGo(discount=0.5)), here.gradient) > 0.02


def test_success_only_is_unbiased_where_success_is_the_reward():
    here = world(binary=True)
    assert error(expected_update(here, SuccessOnly()), here.gradient) < 1e-8


@pytest.mark.parametrize("attempts", [2, 3])
def test_leave_one_out_is_unbiased(attempts):
    here = world()
    assert error(expected_update(here, group_credit(LeaveOneOut(), here, attempts)), here.gradient) < 1e-8


def test_centring_with_oneself_included_only_shrinks_the_gradient():
    here = world(binary=True)
    centred = group_credit(LeaveOneOut(), here, 4) * 3 / 4
    assert error(expected_update(here, centred), 0.75 * here.gradient) < 1e-8


@pytest.mark.parametrize("attempts", [2, 4, 8])
def test_group_relative_s_bias_is_the_factor_of_the_closed_form(attempts):
    here = world(binary=True)
    solved = (here.probability * np.asarray(here.trajectory.success)).sum(-1)
    assert solved[0] < 0.1 < 0.3 < solved[1] < 0.7
    found = expected_update(here, group_credit(EXACT, here, attempts))
    factor = np.array([scale(attempts, p) for p in solved])
    assert error(found, factor @ here.per_problem / 2) < 1e-8
    if attempts == 2:
        assert error(found, here.gradient) < 1e-8  # with two attempts all informative groups are alike
    else:
        assert direction_error(found, here.gradient) > 0.02 and factor[0] > 1.05 * factor[1]


def test_group_relative_is_biased_by_more_than_a_scale_in_every_setting_that_is_used():
    here = world(binary=True)
    for credit in (GroupRelative(), GroupRelative(ddof=0)):
        found = expected_update(here, group_credit(credit, here, 8))
        assert direction_error(found, here.gradient) > 0.05


@pytest.mark.parametrize("attempts, ratio", [(2, 1.00), (4, 1.07), (8, 1.41), (16, 1.93), (64, 3.39)])
def test_problems_solved_once_in_a_hundred_weigh_more_than_those_solved_half_the_time(attempts, ratio):
    assert scale(attempts, 0.01) / scale(attempts, 0.5) == pytest.approx(ratio, abs=0.005)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.5])
@pytest.mark.parametrize("attempts", [2, 4, 8])
def test_the_closed_form_is_what_group_relative_gives_over_all_reward_vectors(attempts, p):
    """For 0/1 rewards E[credit · ∇ log π] = (E[credit | won] − E[credit | lost]) · ∇p."""
    won = np.array(list(itertools.product([0, 1], repeat=attempts)))
    credited, chance = of_returns(EXACT, won), p ** won.sum(1) * (1 - p) ** (attempts - won.sum(1))
    for one in (0, attempts - 1):
        means = [(chance * credited[:, one])[won[:, one] == outcome].sum() / q for outcome, q in ((1, p), (0, 1 - p))]
        assert means[0] - means[1] == pytest.approx(scale(attempts, p), rel=1e-8)


def test_the_closed_form_tends_to_the_slope_of_twice_the_arcsine_of_the_root():
    assert scale(512, 0.3) == pytest.approx(1 / math.sqrt(0.3 * 0.7), rel=0.01)
    assert scale(8, 1e-7) == pytest.approx(math.sqrt(7), rel=1e-4)


def state_values(here: World):
    """The exact expected return before each token, [N, G, T, A]: a mean over the episodes that share the past."""
    reward, probability = np.asarray(here.trajectory.reward), here.probability
    first = np.asarray(here.trajectory.action)[0, :, 0, 0]
    start = (probability * reward.sum(-1)).sum(-1)
    seen, later = (np.stack([np.bincount(first, x, V) for x in y]) for y in (probability, probability * reward[..., 1]))
    before = np.stack([np.broadcast_to(start[:, None], probability.shape), (later / seen)[:, first]], axis=-1)
    return jnp.asarray(np.where(here.trajectory.mask, before[..., None], 0.0))


def advantage(here: World, lambda_, mistake=0.0):
    """GAE, and the values it reads; `mistake` is the size of a random error in the value of every state."""
    wrong = np.random.default_rng(1).normal(size=(2, 1 + V))
    first = np.asarray(here.trajectory.action)[0, :, 0, 0]
    wrong = np.stack([np.broadcast_to(wrong[:, :1], here.probability.shape), wrong[:, 1 + first]], axis=-1)[..., None]
    value = values.from_state_values(state_values(here) + mistake * wrong, here.trajectory.reward, here.trajectory.mask, 1.0)
    return GAE(lambda_=lambda_, whiten=False), value


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 1.0])
def test_gae_with_the_exact_value_is_unbiased_at_any_lambda(lambda_):
    here = world()
    assert error(expected_update(here, *advantage(here, lambda_)), here.gradient) < 1e-8


def test_gae_with_a_wrong_critic_is_biased_unless_lambda_is_1():
    here = world()
    bias = [error(expected_update(here, *advantage(here, lambda_, mistake=0.5)), here.gradient) for lambda_ in (0.0, 0.5, 0.9, 1.0)]
    assert bias[0] > bias[1] > bias[2] > 0.01 and bias[3] < 1e-8


def test_weighing_sequences_alike_instead_of_tokens_is_a_bias_and_a_constant_is_none():
    here = world()
    mask = here.trajectory.mask.reshape(-1, 2, 1)
    share = {name: losses.token_weight([mask], name)[0] * len(mask) for name in ("constant", "sequence_mean")}
    assert error(2 * expected_update(here, RewardToGo(), share=share["constant"]), here.gradient) < 1e-6  # float32 weights
    found = expected_update(here, RewardToGo(), share=share["sequence_mean"])
    assert direction_error(found, here.gradient) > 0.01
