"""The pass over whole episodes: what it finds, and how many it reads at once."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import parallel
from agentic_rl.policy import episode_pass
from agentic_rl.policy.episode_pass import CPU_TOKENS, log_prob_of, sequences_at_once
from agentic_rl.policy.sampler import Sampler
from agentic_rl.rollout.rollout import rollout
from tests.toys import TINY, Walk, babbler, compiled

TASK = Walk()


@cache
def played(context):
    """Returns a policy, its weights, and twelve of its episodes, some of which end early."""
    policy_config = replace(TINY, context=context)
    params = babbler(policy_config, TASK)
    play = lambda p: rollout(TASK, Sampler(policy_config, p), jax.random.key(0), jnp.arange(6), 2)  # noqa: E731
    return policy_config, params, compiled(play)(params)


def read(policy_config, params, episodes):
    f = lambda p, x: episode_pass.read_episodes(policy_config, p, TASK.spec, x)  # noqa: E731
    return compiled(f)(params, episodes)


def test_the_log_prob_of_a_token_is_its_entry_of_the_log_softmax():
    logits = np.random.default_rng(0).normal(0, 5, (3, 4, 7)).astype(np.float32)
    token = np.arange(12).reshape(3, 4) % 7
    wide = logits.astype(float)
    expected = np.log(np.exp(wide) / np.exp(wide).sum(-1, keepdims=True))
    expected = np.take_along_axis(expected, token[..., None], axis=-1)[..., 0]
    found = log_prob_of(jnp.array(logits), jnp.array(token))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("context", ["history", "markov"])
def test_a_pass_finds_the_log_probs_that_the_rollout_recorded(context):
    policy_config, params, episodes = played(context)
    mask = np.asarray(episodes.mask)
    log_prob, _ = read(policy_config, params, episodes)
    assert 0 < mask.mean() < 1 and np.asarray(episodes.log_prob)[mask].std() > 0.1
    np.testing.assert_allclose(log_prob[mask], episodes.log_prob[mask], atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 3 * TASK.spec.context_length])
def test_some_sequences_at_a_time_give_what_all_at_once_give(tokens, monkeypatch):
    policy_config, params, episodes = played("history")
    whole = read(policy_config, params, episodes)
    monkeypatch.setattr(episode_pass, "CPU_TOKENS", tokens)
    mask = np.asarray(episodes.mask)
    for x, y in zip(whole, read(policy_config, params, episodes)):
        np.testing.assert_allclose(x[mask], y[mask], rtol=1e-5, atol=1e-5)


def test_on_a_cpu_a_pass_takes_a_divisor_of_the_sequences_that_has_few_tokens():
    assert sequences_at_once(CPU_TOKENS // 4, 12) == 4
    assert sequences_at_once(CPU_TOKENS // 4, 9) == 3
    assert sequences_at_once(CPU_TOKENS // 4, 2) == 2
    assert sequences_at_once(10 * CPU_TOKENS, 12) == 1


def test_a_user_may_choose_how_many_sequences_a_pass_takes():
    assert [sequences_at_once(10_000, 12, most) for most in (1, 5, 6, 100)] == [1, 4, 6, 12]


def test_an_accelerator_takes_all_sequences_at_once(monkeypatch):
    monkeypatch.setattr(parallel, "is_cpu", lambda: False)
    assert sequences_at_once(10_000, 12) == 12 and sequences_at_once(10_000, 12, 5) == 4
