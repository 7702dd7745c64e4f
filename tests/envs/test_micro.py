"""The small tasks of one choice agree with their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import problems, tokens
from agentic_rl.envs.micro import Memorize, NoisyVerifier, TwoPrompt
from agentic_rl.envs.wait_chain import WaitChain
from agentic_rl.rollout import actors
from agentic_rl.rollout.rollout import rollout

ARM = tokens.value


def outcomes(task, problem, actions, seed=0):
    """Returns reward and success of each action at the given problem."""
    state = task.reset(jax.random.key(0))[0]._replace(problem=jnp.int32(problem))
    keys = jax.random.split(jax.random.key(seed), len(actions))
    step = jax.jit(jax.vmap(lambda key, action: task.step(key, state, action)[1]))(
        keys, jnp.array(actions)
    )
    return np.asarray(step.reward), np.asarray(step.success)


def random_episodes(task, problems=2048):
    return jax.device_get(
        jax.jit(lambda key: rollout(task, actors.Random(), key, jnp.arange(problems)))(
            jax.random.key(0)
        )
    )


def test_the_first_choice_decides_whatever_comes_later():
    task = WaitChain(num_turns=5)
    state, step = task.reset(jax.random.key(0))[0], jax.jit(task.step)
    other = tokens.LEFT + tokens.RIGHT - int(state.side)
    for choice, waits in [(c, w) for c in (int(state.side), other) for w in range(5)]:
        idle = [tokens.WAIT, int(state.side), tokens.WAIT, tokens.WAIT][:waits]
        now, words, rewards = state, [choice, *idle, *[tokens.DONE] * (waits < 4)], []
        for word in words:
            now, timestep = step(jax.random.key(0), now, jnp.array([word]))
            rewards.append(float(timestep.reward))
            assert timestep.done == (len(rewards) == len(words))
        is_right = choice == state.side
        assert rewards == [0.0] * (len(words) - 1) + [float(is_right)]
        assert timestep.success == is_right


def test_the_length_of_a_random_episode_tells_nothing_of_its_success():
    """Each later turn is the last with probability 1/4, whatever the outcome will be.

    So the mean length is 1 + the sum over k < 7 of .75^k.
    """
    episodes = random_episodes(WaitChain(num_turns=8), 8192)
    length, success = episodes.mask.sum(axis=(1, 2, 3)), episodes.success[:, 0]
    for outcome in (True, False):
        lengths = length[success == outcome]
        expected = 1 + sum(0.75**k for k in range(7))
        assert abs(lengths.mean() - expected) < 4 * length.std() / np.sqrt(len(lengths))


def test_two_prompts_succeed_as_often_as_their_arms_say():
    task, arms = TwoPrompt(num_choices=8, easy=3, hard=2), [[ARM(i)] for i in range(16)]
    assert outcomes(task, 0, arms)[1].nonzero()[0].tolist() == [0, 1, 2]
    assert outcomes(task, 1, arms)[1].nonzero()[0].tolist() == [6, 7]
    assert task.chance() == (3 / 8 + 2 / 8) / 2


def test_the_mean_deviation_of_groups_of_two_is_the_closed_form():
    """The deviation is 0 or 1/2, so that E[std] / (p (1 - p)) is 1: GRPO has no such bias here."""
    task = TwoPrompt(num_choices=4, easy=2, hard=1)
    episodes = jax.device_get(
        jax.jit(lambda k: rollout(task, actors.Random(), k, jnp.arange(4096), attempts=2))(
            jax.random.key(0)
        )
    )
    for problem, p in ((0, 2 / 4), (1, 1 / 4)):
        is_problem = episodes.prompt[:, 0, 1] == tokens.entity(problem)
        std = episodes.reward[:, :, 0][is_problem].std(axis=1)
        assert abs(std.mean() - p * (1 - p)) < 4 * std.std() / np.sqrt(len(std))


def test_answers_are_fixed_and_differ_between_problems():
    task = Memorize(num_digits=8)
    answers = [
        task.expert(task.reset(jax.random.key(seed))[0]._replace(problem=jnp.int32(3))).tolist()
        for seed in (0, 1)
    ]
    assert answers[0] == answers[1]
    state = task.reset(jax.random.key(0))[0]
    problems = [state._replace(problem=jnp.int32(i)) for i in range(16)]
    assert len({tuple(task.expert(problem).tolist()) for problem in problems}) == 16


def test_some_right_digits_earn_a_share_of_the_reward_and_no_success():
    task = Memorize(num_digits=4, reward="share")
    right = task.expert(task.reset(jax.random.key(0))[0]._replace(problem=jnp.int32(5))).tolist()
    reward, success = outcomes(task, 5, [right, [*right[:3], tokens.WAIT]])
    assert reward.tolist() == [1, 0.75] and success.tolist() == [True, False]
    assert outcomes(Memorize(num_digits=4), 5, [[*right[:3], tokens.WAIT]])[0] == 0


@pytest.mark.parametrize("true, false", [(0.9, 0.2), (0.4, 0.7)])
def test_the_verifier_errs_at_the_stated_rates_and_success_is_the_truth(true, false):
    task = NoisyVerifier(num_modes=3, true_positive=true, false_positive=false)
    for arm, rate, right in ((2, true, True), (1, false, False), (9, false, False)):
        reward, success = outcomes(task, 0, [[ARM(arm)]] * 4096)
        error = np.sqrt(rate * (1 - rate) / 4096)
        assert (success == right).all() and abs(reward.mean() - rate) < 4 * error
    state = task.reset(jax.random.key(0))[0]
    assert np.isclose(task.potential(state), true) and task.is_key(state) == (true > false)


@pytest.mark.parametrize(
    "task, prompts", [(WaitChain(), 2), (TwoPrompt(), 2), (Memorize(), 16), (NoisyVerifier(), 4)]
)
def test_both_splits_hold_every_prompt(task, prompts):
    for split in ("train", "test"):
        draw = jax.jit(jax.vmap(lambda key: task.prompt(problems.draw(task, split, key)[0])))
        assert len(np.unique(draw(jax.random.split(jax.random.key(0), 256)), axis=0)) == prompts


def test_longer_multiplies_turns_or_digits_if_there_are_any():
    assert WaitChain(num_turns=3).longer(2).num_turns == 6
    assert Memorize(num_digits=3).longer(2).num_digits == 6
    assert TwoPrompt().longer(2) == TwoPrompt() and NoisyVerifier().longer(2) == NoisyVerifier()
