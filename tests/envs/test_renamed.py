"""Renamed is the same task under other names."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from agentic_rl import tokens
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.envs.wrappers.renamed import Renamed
from agentic_rl.rollout.actors import Expert, Random
from agentic_rl.rollout.rollout import rollout
from agentic_rl.types import Environment


def test_names_are_exchanged_within_values_and_within_entities_and_nowhere_else():
    new = Renamed(RunningSum())._new
    for start, moves in ((0, False), (16, True), (32, True), (48, False)):
        block = list(range(start, start + 16))
        assert set(new[block]) == set(block) and (new[block] != block).any() == moves


def test_the_expert_plays_the_same_episodes_in_other_words():
    task = KeyDoor(delay=1)
    plain, other = (
        rollout(t, Expert(), jax.random.key(0), jnp.arange(16)) for t in (task, Renamed(task))
    )
    assert isinstance(Renamed(task), Environment)
    for field in ("prompt", "observation", "action", "label"):
        old, new = (np.asarray(getattr(x, field)) for x in (plain, other))
        assert (Renamed(task)._new[old] == new)[old != tokens.PAD].all() and (old != new).any()
    chex.assert_trees_all_equal(plain.reward, other.reward)
    assert other.success.all()


def test_random_choices_are_understood_by_their_new_names():
    task = Renamed(RunningSum(num_turns=1, modulus=3))
    episodes = rollout(task, Random(), jax.random.key(0), jnp.arange(512))
    assert abs(float(episodes.success.mean()) - 1 / 3) < 0.08
    assert set(np.unique(episodes.action)) == set(task.spec.choices) != set(task.task.spec.choices)


def test_people_read_the_old_names():
    task, state = KeyDoor(), KeyDoor().reset(jax.random.key(0))[0]
    renamed = Renamed(task)
    old, new = (np.asarray(t.reset(jax.random.key(0))[1].observation) for t in (task, renamed))
    old_action, new_action = (np.asarray(t.expert(state)) for t in (task, renamed))
    assert (new != old).any()
    assert renamed.render_turn(new, new_action) == task.render_turn(old, old_action)


def test_a_longer_renamed_task_keeps_its_names():
    task = Renamed(RunningSum(), seed=3)
    longer = task.longer(2)
    assert longer.spec.num_turns == 16 and (longer._new == task._new).all()
