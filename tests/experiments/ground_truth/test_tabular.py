"""Testbeds of policies that are tables give what closed forms say."""

import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.config import ConfigError
from agentic_rl.credit.group import Centred, GroupRelative, LeaveOneOut
from agentic_rl.credit.supervised import SuccessOnly
from agentic_rl.envs.chain_pit import ChainPit
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.envs.micro import TwoPrompt
from agentic_rl.envs.sort_digits import SortDigits
from agentic_rl.envs.wait_chain import WaitChain
from agentic_rl.losses import loss_terms
from experiments.ground_truth import quality, tabular, testbed
from experiments.ground_truth.objectives import group_weight
from experiments.pages import closed_forms


def gradients(bed, credit):
    return testbed.gradients(bed, testbed.credits(bed, testbed.algorithm_with(bed, credit))[0])


def test_a_table_has_the_expected_return_of_its_chances():
    bed = tabular.make(ChainPit(num_turns=3), tabular.right_with(0.8), (4, 2, 8))
    assert bed.expected_return == pytest.approx(0.8**3, rel=1e-5)
    assert bed.trajectory.success.mean() == pytest.approx(0.8**3, abs=0.25)


def test_the_true_gradient_is_the_derivative_by_the_logits():
    """It is pᵀ (1 − p) for a turn's right token, and −pᵀ times its chance for a wrong one."""
    bed = tabular.make(ChainPit(num_turns=3), tabular.right_with(0.8), (2, 1, 4))
    found = bed.true[np.abs(bed.true) > 1e-9]
    np.testing.assert_allclose(np.sort(found)[-3:], 0.8**3 * 0.2, rtol=1e-5)
    np.testing.assert_allclose(np.sort(found)[:-3], -(0.8**3) * 0.2 / 3, rtol=1e-5)


def test_the_mean_gradient_of_rloo_is_the_true_one():
    bed = tabular.make(KeyDoor(delay=2), tabular.right_with(0.7), (512, 2, 8))
    gradient = gradients(bed, LeaveOneOut())
    error = np.linalg.norm(gradient.mean(0) - bed.true)
    assert (
        error
        < 3 * np.sqrt(quality.signal_and_noise(gradient)[1] / len(gradient))
        < 0.3 * np.linalg.norm(bed.true)
    )


@pytest.mark.slow
@pytest.mark.parametrize("chance", [0.8, 0.95])
def test_success_only_has_the_snr_of_a_binomial_on_the_pit_chain(chance):
    """B·P / (1 − P) with B episodes, P = p¹² of which succeed, all by the same tokens."""
    bed = tabular.make(ChainPit(), tabular.right_with(chance), (1024, 1, 32))
    success = chance**12
    expected = 10 * np.log10(32 * success / (1 - success))
    assert quality.snr(gradients(bed, SuccessOnly())) == pytest.approx(expected, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize("attempts, easy, hard", [(2, 8, 1), (8, 8, 1), (8, 12, 2)])
def test_grpo_multiplies_the_gradient_of_a_prompt_by_c(attempts, easy, hard):
    """c(p) = E[std] / (p (1 − p)) within 1%, for an easy and a hard prompt (2503.20783)."""
    task = TwoPrompt(easy=easy, hard=hard)

    def uniform(task, state):
        return jnp.zeros(64).at[jnp.array(task.spec.choices)].set(1 / task.num_choices)

    bed = tabular.make(task, uniform, (60_000, 4, attempts))
    mean = gradients(bed, GroupRelative(ddof=0, eps=1e-9)).mean(0).reshape(4, -1)
    true = bed.true.reshape(4, -1)
    weight = (mean * true).sum(1) / (true**2).sum(1)
    value = np.asarray(bed.solution.table.value)[:, 0, 0, -1]
    for p in (easy / 16, hard / 16):
        at = np.isclose(value, p)
        assert at.any() and weight[at].mean() == pytest.approx(group_weight(attempts, p), rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", ["sequence_mean", "token_mean", "constant"])
@pytest.mark.parametrize("attempts", [2, 8])
def test_waiting_after_an_error_drifts_as_lengths_are_averaged(aggregation, attempts):
    """Nothing matters after the choice, and yet sequence_mean pushes WAIT up after a wrong one
    (Dr. GRPO, 2503.20783).
    """
    p, q = 0.3, 0.5
    after = jnp.zeros(64).at[tokens.WAIT].set(q).at[tokens.DONE].set(1 - q)

    def choice(task, state):
        other = jnp.where(state.side == tokens.LEFT, tokens.RIGHT, tokens.LEFT)
        first = jnp.zeros(64).at[state.side].set(p).at[other].set(1 - p)
        return jnp.where(state.turn == 0, first, after)

    bed = tabular.make(WaitChain(num_turns=24), choice, (20_000, 1, attempts))
    credit, mask = (
        testbed.credits(bed, testbed.algorithm_with(bed, Centred()))[0],
        np.asarray(bed.trajectory.mask)[:, 0],
    )
    weight = np.asarray([loss_terms.token_weight([jnp.asarray(m)], aggregation)[0] for m in mask])
    if aggregation == "constant":  # its unit is a token of an episode, whatever the room for more
        weight = weight * 24
    waits = np.asarray(bed.trajectory.action)[:, 0] == tokens.WAIT
    score = np.where(mask, waits - q, 0.0)
    score[:, :, 0] = 0.0  # the choice
    wrong = ~np.asarray(bed.trajectory.success)[:, 0, :, None, None]
    push = (credit.reshape(mask.shape) * weight * score * wrong).sum((1, 2, 3)) / (1 - p)
    error = push.std() / np.sqrt(len(push))
    expected = closed_forms.drift(aggregation, attempts, p, q, 1, False)
    assert push.mean() == pytest.approx(expected, abs=3 * error)
    if aggregation == "sequence_mean":
        assert push.mean() > 3 * error


def test_longer_actions_have_no_table():
    with pytest.raises(ConfigError, match="one token"):
        tabular.make(SortDigits(), tabular.right_with(0.5), (2, 1, 2))
