"""Losses of presets and their gradients against TRL's own trainers.

Of a trainer only what its loss reads is filled in.
"""

from collections import defaultdict
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import algorithms
from agentic_rl.losses import loss_terms
from agentic_rl.losses.kl import ReferenceKL
from agentic_rl.presets import PRESETS
from tests.batches import close
from tests.toys import compiled

NEEDED = "{} is not installed; the extra `outside` has it"
torch = pytest.importorskip("torch", reason=NEEDED.format("torch"))
trl = pytest.importorskip("trl", reason=NEEDED.format("trl"))

B, T, A = 6, 3, 4
PLAIN = algorithms.by_name()
GROUP = dict(
    loss_type="grpo", importance_sampling_level="token", epsilon_low=0.2, epsilon_high=0.2, beta=0.0
)
CASES = {  # an algorithm of ours, and the settings of GRPOTrainer that it claims to be
    "grpo": (PLAIN["grpo"], {}),
    "dapo": (PRESETS["grpo-trl"], dict(loss_type="dapo")),
    "dapo, clip higher": (PRESETS["dapo-paper"], dict(loss_type="dapo", epsilon_high=0.28)),
    "bnpo": (PRESETS["grpo-trl"], dict(loss_type="bnpo")),
    "dr_grpo": (PRESETS["dr-grpo-trl"], dict(loss_type="dr_grpo")),
    "cispo": (PRESETS["cispo-trl"], dict(loss_type="cispo", epsilon_high=5.0)),
    "sequence": (
        PRESETS["gspo-trl"],
        dict(importance_sampling_level="sequence", epsilon_low=3e-4, epsilon_high=4e-4),
    ),
    "kl": (PRESETS["grpo-deepseek"], dict(beta=0.04)),
}


def batch(seed):
    """Returns log-probabilities now, when acting and of the reference, advantages, and a mask.

    The mask has gaps between turns, and each episode has one advantage.
    """
    random = np.random.default_rng(seed)
    old = -np.abs(random.normal(size=(B, T, A)))
    drift = random.normal(size=old.shape) / 3 + random.normal(size=(B, 1, 1)) / 10
    mask = np.arange(A) < random.integers(1, A + 1, (B, T, 1))
    arrays = [old + drift, old, old + random.normal(size=old.shape) / 3, random.normal(size=B)]
    return [x.astype(np.float32) for x in arrays] + [
        mask & (np.arange(T) < random.integers(1, T + 1, (B, 1)))[..., None]
    ]


@compiled
def ours(algorithm, log_prob, old, reference, advantage, mask):
    """Returns the loss and its gradient by the log-probabilities."""

    def loss(log_prob):
        credit = jnp.broadcast_to(advantage[:, None, None], mask.shape)
        per_token = -algorithm.surrogate(log_prob, old, credit, mask)
        if isinstance(algorithm.kl, ReferenceKL):
            per_token += algorithm.kl(log_prob, reference)
        return (loss_terms.token_weight([mask], algorithm.aggregation)[0] * per_token).sum()

    return jax.value_and_grad(loss)(log_prob)


def blank(cls, log_prob, **settings):
    """Returns a trainer without a model, whose log-probabilities are given."""
    trainer = object.__new__(cls)
    same = lambda x, **_: x  # noqa: E731
    trainer.accelerator = SimpleNamespace(
        gather=same, reduce=same, gather_for_metrics=same, num_processes=1, sync_gradients=True
    )
    trainer.args = SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1)
    trainer.model = SimpleNamespace(training=True)
    trainer._metrics = {"train": defaultdict(list)}
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (
        log_prob,
        torch.zeros_like(log_prob),
        None,
    )
    unused = dict(
        aux_loss_enabled=False,
        use_vllm=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
    )
    sizes = dict(
        current_gradient_accumulation_steps=1,
        max_completion_length=T * A,
        _entropy_bonus_enabled=False,
    )
    for name, value in (unused | sizes | settings).items():
        setattr(trainer, name, value)
    return trainer


def theirs(cls, log_prob, old, reference, advantage, mask, **settings):
    """Returns TRL's loss and its gradient; masked tokens are like a tool's answer between turns."""
    log_prob, old, reference = (torch.tensor(x.reshape(B, -1)) for x in (log_prob, old, reference))
    mask, advantage = torch.tensor(mask.reshape(B, -1)).long(), torch.tensor(advantage)
    log_prob.requires_grad_()
    prompt, written = torch.ones((B, 1), dtype=torch.long), torch.ones((B, T * A), dtype=torch.long)
    inputs = dict(
        prompt_ids=prompt,
        prompt_mask=prompt,
        completion_ids=written,
        completion_mask=written,
        tool_mask=mask,
        advantages=advantage,
        old_per_token_logps=old,
        ref_per_token_logps=reference,
        num_items_in_batch=mask.sum(),
    )
    if cls is trl.RLOOTrainer:
        inputs |= dict(completion_mask=mask, old_logps=(old * mask).sum(1))
    loss = blank(cls, log_prob, **settings)._compute_loss(None, inputs)
    loss.backward()
    return loss.item(), log_prob.grad.numpy().reshape(B, T, A)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_those_of_trl_s_grpo_trainer(case, seed):
    (algorithm, settings), arrays = CASES[case], batch(seed)
    result, expected = (
        ours(algorithm, *arrays),
        theirs(trl.GRPOTrainer, *arrays, **GROUP | settings),
    )
    close(result[0], expected[0])
    close(result[1], expected[1])


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_and_gradient_of_rloo_are_those_of_trl_s_rloo_trainer(seed):
    arrays = batch(seed)
    result, expected = (
        ours(PRESETS["rloo-trl"], *arrays),
        theirs(trl.RLOOTrainer, *arrays, epsilon_low=0.2, epsilon_high=0.2),
    )
    close(result[0], expected[0])
    close(result[1], expected[1])


def test_the_clips_of_these_presets_are_the_defaults_of_trl():
    group, rloo = (
        trl.GRPOConfig(output_dir="x", bf16=False),
        trl.RLOOConfig(output_dir="x", bf16=False),
    )
    preset, other = PRESETS["grpo-trl"], PRESETS["rloo-trl"]
    assert (group.loss_type, group.scale_rewards, group.beta) == ("dapo", "group", 0.0)
    assert group.epsilon == preset.surrogate.clip_low == preset.surrogate.clip_high
    assert (
        rloo.epsilon == other.surrogate.clip_low == other.surrogate.clip_high
        and rloo.beta == other.reward.coefficient
    )
    assert not rloo.normalize_advantages


def test_the_batches_of_these_tests_clip_on_both_sides_and_have_gaps():
    log_prob, old, _, advantage, mask = batch(0)
    ratio, positive = np.exp(log_prob - old), advantage[:, None, None] > 0
    assert (mask & positive & (ratio > 1.2)).any() and (mask & ~positive & (ratio < 0.8)).any()
    assert not mask[:, :-1, -1].all() and len({m.sum() for m in mask}) > 2
