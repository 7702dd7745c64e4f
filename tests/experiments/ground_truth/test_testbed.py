"""Testbeds agree with direct computations, closed forms, and known facts on estimators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from agentic_rl.config import ConfigError
from agentic_rl.credit.gae import GAE
from agentic_rl.credit.group import LeaveOneOut
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.credit.supervised import SuccessOnly
from agentic_rl.envs.chain_pit import ChainPit
from agentic_rl.policy.transformer import Policy
from agentic_rl.rewards import Shaped
from agentic_rl.training import gradients, learner
from agentic_rl.training.batch import make_batch
from agentic_rl.types import Value
from agentic_rl.values import NoValue
from agentic_rl.values.critic import Critic
from agentic_rl.values.exact import Exact
from agentic_rl.values.forks import Forks
from experiments.ground_truth import cloned_policies, quality, testbed
from experiments.ground_truth.testbed import algorithm_with
from tests.experiments.ground_truth.beds import SIZE, TASK, bed
from tests.toys import weights

ORACLE = dict(credit=GAE(lambda_=0.0, whiten=False), values=Exact())


def test_a_batch_s_gradient_is_that_of_its_credited_log_likelihoods():
    here = bed()
    algorithm = algorithm_with(here, credit=LeaveOneOut())
    credit, steps = testbed.credits(here, algorithm)
    first = jax.tree.map(lambda x: x[0], here.trajectory)
    batch = make_batch(
        algorithm,
        first._replace(state=()),
        Value(*[jnp.zeros(first.mask.shape)] * 2, jnp.float32(1)),
    )
    np.testing.assert_allclose(credit[0], np.ravel(batch.credit), rtol=1e-5, atol=1e-6)

    def objective(params):
        log_prob, _, _ = gradients.predict(
            learner.setup(SIZE, algorithm, 1, 0), TASK.spec, algorithm, params, batch
        )
        return jnp.where(batch.mask, batch.credit * log_prob, 0.0).sum() / 8

    direct = ravel_pytree(jax.grad(objective)(here.params))[0]
    np.testing.assert_allclose(testbed.gradients(here, credit)[0], direct, rtol=1e-3, atol=1e-5)
    assert steps == pytest.approx(np.asarray(here.trajectory.mask).any(-1).sum() / 8)


@pytest.mark.slow
def test_the_oracles_mean_gradient_is_the_exact_one():
    here = bed(shape=(64, 1, 16))
    found = testbed.score(here, algorithm_with(here, **ORACLE))
    assert (
        found["pearson"] == pytest.approx(1)
        and found["bias"] < 1e-3
        and found["key_accuracy"] == 1
        and found["leakage"] < 1e-4
    )
    assert abs(found["cosine_bias"] - 1) < 3 * found["cosine_bias_se"] < 0.1
    assert found["expected_cosine"] > 0.5


@pytest.mark.slow
def test_the_mean_gradient_over_very_many_episodes_is_the_exact_one():
    here = bed(shape=(64, 1, 64))
    for one in (dict(credit=LeaveOneOut()), ORACLE):
        gradient = testbed.gradients(here, testbed.credits(here, algorithm_with(here, **one))[0])
        error = np.linalg.norm(gradient.mean(0) - here.true)
        assert (
            error
            < 4 * np.sqrt(quality.signal_and_noise(gradient)[1] / len(gradient))
            < np.linalg.norm(here.true)
        )


def test_spread_is_what_is_at_stake_and_pairs_share_their_truth():
    here = bed()
    assert (here.spread[here.mask] >= np.abs(here.truth[here.mask]) - 1e-6).all()
    for pair in np.unique(here.pair[here.mask]):
        truth = here.truth[here.mask & (here.pair == pair)]
        assert np.ptp(truth) < 1e-6
    for state in np.unique(here.state[here.mask]):
        assert np.ptp(here.spread[here.mask & (here.state == state)]) < 1e-6


@pytest.mark.parametrize("turns", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_success_only_has_the_signal_to_noise_of_a_binomial(turns):
    """All successes of a problem are the same tokens: B episodes have an SNR of B·P / (1 − P)."""
    here = bed(ChainPit(num_turns=turns, num_values=2), (512, 1, 8))
    gradient = testbed.gradients(
        here, testbed.credits(here, algorithm_with(here, credit=SuccessOnly()))[0]
    )
    chance = here.expected_return
    assert 0.02 < chance < 0.9
    assert quality.snr(gradient) == pytest.approx(10 * np.log10(8 * chance / (1 - chance)), abs=1)


@pytest.mark.slow
def test_shaping_leaves_the_expected_gradient_and_forks_are_charged():
    here = bed(shape=(64, 1, 16))
    plain, shaped = (
        testbed.credits(here, algorithm_with(here, credit=RewardToGo(), **more))
        for more in ({}, dict(reward=Shaped()))
    )
    a, b = (testbed.gradients(here, x) for x, _ in (plain, shaped))
    error = np.linalg.norm((a - b).mean(0))
    assert np.linalg.norm(a - b, axis=1).mean() > 0 and error < 4 * np.sqrt(
        quality.signal_and_noise(a - b)[1] / len(a)
    )
    forked = testbed.credits(
        here, algorithm_with(here, credit=GAE(lambda_=0.0, whiten=False), values=Forks(2))
    )[1]
    assert forked == pytest.approx(
        plain[1] + 2 * plain[1] * 2, rel=1e-6
    )  # of three turns 3 + 2 + 1 steps are played twice


@pytest.mark.slow
def test_with_many_forks_vineppo_tends_to_the_truth():
    here = bed()
    errors = []
    for count in (4, 64):
        credit, _ = testbed.credits(
            here, algorithm_with(here, credit=GAE(lambda_=0.0, whiten=False), values=Forks(count))
        )
        errors.append(np.sqrt(np.mean((credit - here.truth)[here.mask] ** 2)))
    assert errors[1] < 0.4 * errors[0]


@pytest.mark.slow
def test_a_step_along_the_exact_gradient_gains_one():
    here = bed()
    gain = testbed.improvements(here, np.stack([here.true, -here.true, 0 * here.true]))
    assert gain[0] == pytest.approx(1, abs=1e-3) and gain[1] < 0 and gain[2] == 0


@pytest.mark.slow
def test_a_step_has_its_divergence_even_for_a_nearly_sure_policy():
    task = ChainPit(num_turns=2, num_values=2)
    here = testbed.make(
        task,
        SIZE,
        cloned_policies.clones(task, SIZE, (0.97,), 0, 2)[0.97],
        (8, 2, 8),
        cloned_policies.bank_key(0),
    )
    (gain,) = testbed.improvements(here, here.true[None])
    assert gain == pytest.approx(1, abs=1e-3)
    of_critic, _ = ravel_pytree(
        jax.tree.map(jnp.zeros_like, here.params)
        | {"value_head": jax.tree.map(jnp.ones_like, here.params["value_head"])}
    )
    assert np.isnan(
        testbed.improvements(here, np.asarray(of_critic)[None])
    ).all()  # changes no action, so that no step has any length


@pytest.mark.slow
def test_a_fitted_critic_explains_returns_and_changes_no_action():
    params = weights(SIZE, likely=TASK.spec.choices)
    fitted = cloned_policies.fit_critic(TASK, SIZE, params, 0, 2)
    assert {k: v is fitted[k] for k, v in params.items()} == {k: k != "value_head" for k in params}
    here = testbed.make(TASK, SIZE, fitted, (8, 2, 16))
    noise = []
    for critic in (Critic(), NoValue()):
        credit, _ = testbed.credits(
            here,
            algorithm_with(
                here,
                credit=GAE(lambda_=1.0, whiten=False) if critic.has_values else RewardToGo(),
                values=critic,
            ),
        )
        noise.append(np.var(credit[here.mask]))
    assert noise[0] < noise[1]


def test_what_has_no_exact_values_is_refused():
    with pytest.raises(ConfigError, match="markov context"):
        testbed.make(TASK, Policy(), {})
