"""Every task of the folder, at several settings, keeps the contract of `Environment`."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.envs.chain_pit import ChainPit
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.envs.sort_digits import SortDigits
from agentic_rl.rollout.record import UNLIMITED, room
from tests.envs.episodes import (
    NUM_EXPERT,
    NUM_FACTS,
    NUM_PROBLEMS,
    NUM_RANDOM,
    compiled,
    play_together,
    walk,
)
from tests.envs.variants import DEFAULTS, every_small_task, every_task, label


def in_vocabulary(token):
    return ((token >= 0) & (token < tokens.VOCABULARY)).all()


@every_task
def test_the_expert_succeeds_and_the_potential_is_its_return(task):
    turns, fact = walk(task)
    assert turns.success[:NUM_EXPERT, -1].all() and turns.done[:NUM_EXPERT, -1].all()
    reward_to_go = np.cumsum(turns.reward[:NUM_EXPERT, ::-1], axis=1)[:, ::-1]
    np.testing.assert_allclose(fact.potential[:NUM_EXPERT], reward_to_go, rtol=1e-5, atol=1e-6)


@every_task
def test_room_tells_episodes_that_were_cut_off_from_those_that_ended(task):
    turns, spec = walk(task)[0], task.spec
    written = np.cumsum(turns.action == spec.end, -1) - (turns.action == spec.end) == 0
    mask = written & turns.alive[..., None]
    action, success = np.where(mask, turns.action, tokens.PAD), turns.success[:, -1]
    left = np.asarray(room(spec, *map(jnp.asarray, (action, mask, success))))
    used = mask.sum((1, 2))
    out_of_turns, has_end = spec.limited and spec.num_turns > 1, spec.end in spec.choices
    lacks_end = has_end & (action[:, -1] != spec.end).all(-1)
    cut_off = turns.alive[:, -1] & ~success & (out_of_turns | lacks_end)
    unused = mask[0].size - used if out_of_turns or has_end else UNLIMITED
    np.testing.assert_array_equal(left, np.where(cut_off, -1, unused))
    assert (left[:NUM_EXPERT] >= 0).all() and success[:NUM_EXPERT].all()


@every_task
def test_after_the_end_a_task_stays_done_and_nothing_more_is_to_come(task):
    step, potential = jax.tree.map(lambda x: x[:, -1], walk(task)[1].beyond)
    assert step.done.all() and np.isfinite(step.reward).all() and in_vocabulary(step.observation)
    assert (potential == 0).all()


@every_task
def test_shapes_and_types_are_those_of_the_spec_and_never_change(task):
    def first(key):
        state, step = task.reset(key)
        numbers = task.anchor(state), task.potential(state), task.is_key(state)
        return state, step, task.prompt(state), task.expert(state), *numbers

    key = jax.random.key(0)
    state, step, prompt, action, anchor, potential, is_key = jax.eval_shape(first, key)
    after = jax.eval_shape(task.step, key, state, action)
    chex.assert_trees_all_equal_shapes_and_dtypes((state, step), after)
    shapes = prompt.shape, step.observation.shape, action.shape
    assert shapes == tuple((n,) for n in task.spec[:3])
    scalars = anchor, potential, is_key, step.reward, step.done, step.success
    assert {x.shape for x in scalars} == {()}
    assert {x.dtype for x in (prompt, step.observation, action, anchor)} == {jnp.dtype("int32")}
    assert {step.reward.dtype, potential.dtype} == {jnp.dtype("float32")}
    assert {step.done.dtype, step.success.dtype, is_key.dtype} == {jnp.dtype("bool")}


@every_task
def test_returns_stay_within_the_stated_bounds(task):
    low, high = task.bounds()
    total = walk(task)[0].reward.sum(axis=1)
    assert low - 1e-5 <= total.min() and total.max() <= high + 1e-5


# without a compiler the other tasks take seconds each
QUICK = (ChainPit, KeyDoor, RunningSum, SortDigits)
DEFAULTS_IN_TIME = [
    pytest.param(task, marks=[pytest.mark.slow] * (not isinstance(task, QUICK)))
    for task in DEFAULTS
]


@pytest.mark.parametrize("task", DEFAULTS_IN_TIME, ids=label)
def test_compiled_and_uncompiled_agree(task):
    def two_turns(key):
        state, _ = task.reset(key)
        prompt = task.prompt(state)
        state, first = task.step(key, state, task.expert(state))
        choice = jnp.full(task.spec.action_length, task.spec.choices[0])
        state, second = task.step(key, state, choice)
        numbers = task.anchor(state), task.potential(state), task.is_key(state)
        return prompt, first, second, state, task.expert(state), *numbers

    key = jax.random.key(3)
    chex.assert_trees_all_close(two_turns(key), compiled(two_turns)(key), rtol=1e-6)


@every_small_task
def test_random_actions_succeed_as_often_as_stated(task):
    if not hasattr(task, "chance"):
        pytest.skip("its chance level has no closed form")
    p, success = task.chance(), walk(task)[0].success[NUM_EXPERT:, -1]
    assert 0.001 < p < 0.5
    assert abs(success.mean() - p) < 4 * np.sqrt(p * (1 - p) / NUM_RANDOM)


@every_task
def test_all_tokens_are_of_the_vocabulary_and_the_experts_are_choices(task):
    turns, fact = walk(task)
    assert in_vocabulary(fact.prompt) and in_vocabulary(turns.observation)
    allowed = (*task.spec.choices, tokens.END, tokens.PAD)
    assert np.isin(fact.expert[turns.alive[:NUM_FACTS]], allowed).all()


@every_task
def test_attempts_at_a_problem_share_its_instance_and_problems_differ(task):
    turns, fact = walk(task)
    parts = fact.prompt[:, 0], turns.observation[:NUM_FACTS, 0], fact.expert[:, 0]
    assert len(np.unique(np.concatenate(parts, axis=1), axis=0)) > 1
    first = turns.observation[:NUM_EXPERT, 0]
    again = turns.observation[NUM_PROBLEMS : NUM_PROBLEMS + NUM_EXPERT, 0]
    assert (first == again).all()


@every_small_task
def test_all_illegal_actions_have_the_same_outcome(task):
    if getattr(task, "judges_tokens", False):
        pytest.skip("it rewards each token on its own, whatever the others are")
    for x in jax.tree.leaves(walk(task)[1].illegal):
        assert (x == x[:, :, :1]).all()


@every_small_task
def test_no_action_beats_the_expert_and_at_key_decisions_a_wrong_one_costs(task):
    turns, fact = jax.tree.map(lambda x: x[:NUM_FACTS], walk(task))
    np.testing.assert_allclose(fact.best[turns.alive], fact.potential[turns.alive], atol=1e-6)
    assert ((fact.best > fact.worst + 1e-6) == fact.is_key)[turns.alive].all()
    after = np.append(fact.potential[:, 1:], np.zeros((NUM_FACTS, 1)), axis=1)
    value = turns.reward + np.where(turns.done, 0, after)
    gain = (value - fact.potential)[turns.alive]
    # where something is hidden a guess may be lucky, but not on average
    assert (gain.mean() if getattr(task, "hidden", False) else gain.max()) <= 1e-6


@every_small_task
def test_states_of_one_problem_with_the_same_anchor_are_the_same_decision(task):
    """States of two problems may share an anchor."""
    turns = play_together(task)

    def decide(state):
        return task.anchor(state), task.potential(state), task.is_key(state), task.expert(state)

    fact = compiled(jax.vmap(jax.vmap(decide)))(turns.state)
    time = np.broadcast_to(np.arange(task.spec.num_turns), turns.alive.shape)
    seen = {}
    for anchor, *decision in zip(*(np.asarray(x)[turns.alive] for x in (*fact, time))):
        assert str(seen.setdefault(int(anchor), decision)) == str(decision)


@every_task
def test_prompt_and_turns_can_be_read(task):
    turns, fact = walk(task)
    prompt = task.render_prompt(fact.prompt[0, 0])
    assert prompt.strip() and "\n" not in prompt
    for observation, action in zip(turns.observation[0], turns.action[0]):
        assert "-> " in task.render_turn(observation, action)
