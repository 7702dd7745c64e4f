"""The contract that every task keeps (the folder is walked, at several settings of each task), then facts about single tasks."""

import functools
import itertools
from dataclasses import fields, replace
from typing import Any, Literal, NamedTuple, get_args, get_origin

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agentic_rl.envs
from agentic_rl import tokens
from agentic_rl.config import ConfigError, named
from agentic_rl.envs.chain_pit import ChainPit
from agentic_rl.envs.frozen_lake import FrozenLake
from agentic_rl.envs.graph_nav import GraphNav
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.envs.micro import NoisyVerifier
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.envs.sort_digits import SortDigits
from agentic_rl.exact.state_graph import identify, is_random, outcomes
from agentic_rl.rollout.record import UNLIMITED, room
from tests.toys import Walk

# Knobs at which random success is seen within a few thousand episodes, and at which only key decisions change the return.
SMALL = {
    "frozen_lake": dict(size=3, num_turns=5, hole=0.4),
    "graph_nav": dict(num_nodes=6, num_turns=5),
    "path_star": dict(arms=2, length=2, num_labels=5),
    "deep_sea": dict(size=4),
    "hanoi": dict(num_disks=2, slack=1),
    "sokoban": dict(size=5, num_walls=1, num_turns=8),
    "todo": dict(num_items=3),
    "tool_chase": dict(num_entries=3, num_turns=5),
    "memorize": dict(num_digits=2, base=3),
    "sort_digits": dict(num_digits=2, base=3),
    "running_sum": dict(num_turns=2, modulus=3),
    "chain_pit": dict(num_turns=4, num_values=2),
    "key_door": dict(delay=2, apple_reward=0.0),
    "points": dict(num_turns=5),
    "compose": dict(length=2),
    "fix_it": dict(num_digits=2, modulus=3),
}
PAIRS = [
    SortDigits(num_digits=2, base=3, answer_length=4, reward="exact"),
    KeyDoor(delay=1, num_keys=2, apple_reward=0.0),
] + [
    ChainPit(num_turns=6, num_values=2, mode=mode, recovery_turns=3, reward="per_step_cost")
    for mode in ("drift", "unseen_recover", "demoed_recover")
]


def variants(task):
    """`task`, and `task` with each mode of it and each switch turned, one at a time."""
    options = {f.name: get_args(f.type) for f in fields(task) if get_origin(f.type) is Literal}
    options |= {f.name: (True, False) for f in fields(task) if f.type is bool}
    others = [
        (name, option)
        for name in options
        for option in options[name]
        if option != getattr(task, name)
    ]
    return [task] + [replace(task, **{name: option}) for name, option in others]


TASKS = named(agentic_rl.envs)
DEFAULTS = [cls() for cls in TASKS.values()]
SMALLS = [cls(**SMALL.get(name, {})) for name, cls in TASKS.items()]
MORE = [
    pytest.param(task, marks=pytest.mark.slow) for small in SMALLS for task in variants(small)[1:]
]
MORE += [pytest.param(task, marks=pytest.mark.slow) for task in PAIRS]


def label(task):
    """A test's name for `task`: what differs from the defaults."""
    changed = [
        f"{f.name}={getattr(task, f.name)}"
        for f in fields(task)
        if getattr(task, f.name) != f.default
    ]
    return "-".join([type(task).__name__, *changed])


LARGE = [pytest.param(task, marks=pytest.mark.slow) for task in DEFAULTS if task not in SMALLS]
every_task = pytest.mark.parametrize("task", LARGE + SMALLS + MORE, ids=label)
every_small_task = pytest.mark.parametrize("task", SMALLS + MORE, ids=label)

EXPERT, WRONG = -1, tokens.PAD  # as actions: what the expert does, and what is never right


class Turn(NamedTuple):
    """One turn of an episode, batched [E, T]. The state stays where the episode ends, as in a rollout."""

    state: Any
    observation: Any
    action: Any
    reward: Any
    alive: Any  # the episode was not over before this turn
    done: Any  # it is over after it
    success: Any


def compiled(function):
    """`function`, compiled in a hurry: it runs once or twice."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def play(task, action, num_problems=None):
    """Episodes of the given actions [E, T, A], number i on problem i (modulo `num_problems`); returns numpy arrays."""
    action = np.asarray(action, np.int32)
    problem = np.arange(len(action)) % (num_problems or len(action))

    def turn(carry, xs):
        (state, before), (key, action) = carry, xs
        action = jnp.where(action == EXPERT, task.expert(state), action)
        ended = jnp.cumsum(action == task.spec.end) - (action == task.spec.end)
        action = jnp.where(ended > 0, tokens.PAD, action)  # as a rollout does
        new = task.step(key, state, action)
        after, step = jax.tree.map(
            lambda old, new: jnp.where(before.done, old, new), (state, before), new
        )
        reward = jnp.where(before.done, 0.0, step.reward)
        return (after, step), Turn(
            state, before.observation, action, reward, ~before.done, step.done, step.success
        )

    def episode(start, key, action):
        keys = jax.vmap(lambda t: jax.random.fold_in(key, t))(jnp.arange(len(action)))
        return jax.lax.scan(turn, start, (keys, action))[1]

    start = compiled(jax.vmap(lambda i: task.reset(jax.random.fold_in(jax.random.key(0), i))))(
        problem
    )
    return jax.device_get(
        compiled(jax.vmap(episode))(start, jax.vmap(jax.random.key)(np.arange(len(action))), action)
    )


def always(task, action, episodes=32):
    """Actions [episodes, T, A] that are all the same."""
    return np.full((episodes, task.spec.num_turns, task.spec.action_length), action)


class Facts(NamedTuple):
    """What the task says about the states of a walk, batched [E, T]."""

    prompt: Any
    expert: Any
    anchor: Any
    potential: Any
    is_key: Any
    best: Any  # the return of the expert's action now and the expert's return afterwards, where nothing is random
    worst: Any  # the least of the same over actions that are not the expert's
    illegal: Any  # the outcomes of all illegal actions, stacked
    beyond: Any  # the state and time step two turns after this state, and that state's potential


def illegal_actions(task, drawn=64):
    """Actions [E, A] of one token that is no choice, over and over; then of choices, but for one such token before any END."""
    rng, length = np.random.default_rng(0), task.spec.action_length
    no_choice = np.setdiff1d(np.arange(tokens.VOCABULARY), task.spec.choices)
    mixed = rng.choice(np.setdiff1d(task.spec.choices, task.spec.end), (drawn, length))
    place, there = rng.integers(0, length, (drawn, 1)), np.arange(length)
    mixed = np.where(
        there == place, rng.choice(np.setdiff1d(no_choice, task.spec.end), (drawn, 1)), mixed
    )
    ends = (
        rng.integers(1, 2 * length, (drawn, 1)) if task.spec.end >= 0 else length
    )  # behind it, or not at all
    ends = np.where(ends > place, ends, length)
    mixed = np.where(there < ends, mixed, np.where(there == ends, task.spec.end, tokens.PAD))
    return np.concatenate([np.repeat(no_choice[:, None], length, axis=1), mixed])


def facts(task, state):
    wrong, key = jnp.full(task.spec.action_length, WRONG), jax.random.key(0)
    illegal = jnp.asarray(illegal_actions(task))

    def value_of(action):
        after, step = task.step(key, state, action)
        return step.reward + jnp.where(step.done, 0.0, task.potential(after))

    outcomes = jax.vmap(lambda action: task.step(key, state, action))(illegal)
    expert = task.expert(state)
    every = jnp.broadcast_to(
        jnp.arange(tokens.VOCABULARY)[:, None], (tokens.VOCABULARY, task.spec.action_length)
    )
    pairs = jnp.array(
        [(*pair, tokens.END) for pair in itertools.product(task.spec.choices, repeat=2)]
    )[:, : task.spec.action_length]
    pairs = jnp.where(
        jnp.cumsum(pairs == tokens.END, axis=1) - (pairs == tokens.END) > 0, tokens.PAD, pairs
    )
    short = (
        jnp.full((len(pairs), task.spec.action_length), tokens.PAD)
        .at[:, : pairs.shape[1]]
        .set(pairs)
    )
    others = [every, short] + [
        jnp.tile(expert, (tokens.VOCABULARY, 1)).at[:, a].set(every[:, 0])
        for a in range(task.spec.action_length)
    ]
    later, step = task.step(key, task.step(key, state, expert)[0], wrong)
    worst = jax.vmap(value_of)(jnp.concatenate(others)).min()
    values = task.potential(state), task.is_key(state), value_of(expert), worst
    return Facts(
        task.prompt(state),
        expert,
        task.anchor(state),
        *values,
        outcomes,
        (step, task.potential(later)),
    )


NUM_PROBLEMS, NUM_RANDOM, NUM_FACTS = 512, 4096, 64


@functools.cache
def together(task):
    """Random episodes, all at one problem."""
    return play(
        task,
        np.random.default_rng(1).choice(task.spec.choices, always(task, 0, NUM_FACTS).shape),
        num_problems=1,
    )


@functools.cache
def walk(task):
    """32 episodes of the expert, then 4096 of random actions; the facts are those of the first 64 episodes."""
    rng = np.random.default_rng(0)
    random = rng.choice(task.spec.choices, always(task, 0, NUM_RANDOM).shape)
    turns = play(task, np.concatenate([always(task, EXPERT), random]), NUM_PROBLEMS)
    states = jax.tree.map(lambda x: x[:NUM_FACTS], turns.state)
    return turns, jax.device_get(compiled(jax.vmap(jax.vmap(lambda s: facts(task, s))))(states))


def in_vocabulary(token):
    return ((token >= 0) & (token < tokens.VOCABULARY)).all()


# The contract.


@every_task
def test_the_expert_succeeds_and_the_potential_is_its_return_from_every_turn_on(task):
    turns, fact = walk(task)
    assert turns.success[:32, -1].all() and turns.done[:32, -1].all()
    reward_to_go = np.cumsum(turns.reward[:32, ::-1], axis=1)[:, ::-1]
    np.testing.assert_allclose(fact.potential[:32], reward_to_go, rtol=1e-5, atol=1e-6)


@every_task
def test_an_expert_s_episode_ends_and_one_that_is_cut_off_failed_at_the_limit(task):
    turns, spec = walk(task)[0], task.spec
    written = np.cumsum(turns.action == spec.end, -1) - (turns.action == spec.end) == 0
    mask = written & turns.alive[..., None]
    action, success = np.where(mask, turns.action, tokens.PAD), turns.success[:, -1]
    left, used = (
        np.asarray(room(spec, *map(jnp.asarray, (action, mask, success)))),
        mask.sum((1, 2)),
    )
    out_of_turns, has_end = spec.limited and spec.num_turns > 1, spec.end in spec.choices
    lacks_end = has_end & (action[:, -1] != spec.end).all(-1)
    cut_off = turns.alive[:, -1] & ~success & (out_of_turns | lacks_end)
    is_unlimited = not (out_of_turns or has_end)
    np.testing.assert_array_equal(
        left, np.where(cut_off, -1, UNLIMITED if is_unlimited else mask[0].size - used)
    )
    assert (left[:32] >= 0).all() and success[:32].all()


@every_task
def test_after_the_end_a_task_stays_done_with_nothing_to_come_and_all_in_range(task):
    step, potential = jax.tree.map(lambda x: x[:, -1], walk(task)[1].beyond)
    assert step.done.all() and np.isfinite(step.reward).all() and in_vocabulary(step.observation)
    assert (potential == 0).all()


@every_task
def test_shapes_and_types_are_those_of_the_spec_and_never_change(task):
    def first(key):
        state, step = task.reset(key)
        return (
            state,
            step,
            task.prompt(state),
            task.expert(state),
            task.anchor(state),
            task.potential(state),
            task.is_key(state),
        )

    state, step, prompt, action, anchor, potential, is_key = jax.eval_shape(
        first, jax.random.key(0)
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(
        (state, step), jax.eval_shape(task.step, jax.random.key(0), state, action)
    )
    assert (prompt.shape, step.observation.shape, action.shape) == tuple(
        (n,) for n in task.spec[:3]
    )
    assert {x.shape for x in (anchor, potential, is_key, step.reward, step.done, step.success)} == {
        ()
    }
    assert {x.dtype for x in (prompt, step.observation, action, anchor)} == {jnp.dtype("int32")}
    assert {step.reward.dtype, potential.dtype} == {jnp.dtype("float32")}
    assert {step.done.dtype, step.success.dtype, is_key.dtype} == {jnp.dtype("bool")}


@every_task
def test_returns_stay_within_the_stated_bounds(task):
    low, high = task.bounds()
    total = walk(task)[0].reward.sum(axis=1)
    assert low - 1e-5 <= total.min() and total.max() <= high + 1e-5


QUICK = (
    ChainPit,
    KeyDoor,
    RunningSum,
    SortDigits,
)  # without a compiler the others take seconds each


@pytest.mark.parametrize(
    "task",
    [pytest.param(t, marks=[pytest.mark.slow] * (not isinstance(t, QUICK))) for t in DEFAULTS],
    ids=label,
)
def test_compiled_and_uncompiled_agree(task):
    def two_turns(key):
        state, _ = task.reset(key)
        prompt = task.prompt(state)
        state, first = task.step(key, state, task.expert(state))
        state, second = task.step(
            key, state, jnp.full(task.spec.action_length, task.spec.choices[0])
        )
        return (
            prompt,
            first,
            second,
            state,
            task.expert(state),
            task.anchor(state),
            task.potential(state),
            task.is_key(state),
        )

    chex.assert_trees_all_close(
        two_turns(jax.random.key(3)), compiled(two_turns)(jax.random.key(3)), rtol=1e-6
    )


@every_small_task
def test_random_actions_succeed_as_often_as_stated(task):
    if not hasattr(task, "chance"):
        pytest.skip("its chance level has no closed form")
    p, success = task.chance(), walk(task)[0].success[32:, -1]
    assert 0.001 < p < 0.5
    assert abs(success.mean() - p) < 4 * np.sqrt(p * (1 - p) / NUM_RANDOM)


@every_task
def test_all_tokens_are_of_the_vocabulary_and_the_experts_are_choices(task):
    turns, fact = walk(task)
    assert in_vocabulary(fact.prompt) and in_vocabulary(turns.observation)
    assert np.isin(
        fact.expert[turns.alive[:NUM_FACTS]], (*task.spec.choices, tokens.END, tokens.PAD)
    ).all()


@every_task
def test_attempts_at_a_problem_share_its_instance_and_problems_differ(task):
    turns, fact = walk(task)
    start = np.concatenate(
        [fact.prompt[:, 0], turns.observation[:NUM_FACTS, 0], fact.expert[:, 0]], axis=1
    )
    assert len(np.unique(start, axis=0)) > 1
    first, again = turns.observation[:32, 0], turns.observation[NUM_PROBLEMS : NUM_PROBLEMS + 32, 0]
    assert (first == again).all()


@every_small_task
def test_all_actions_with_a_token_that_is_no_choice_have_one_and_the_same_outcome(task):
    if getattr(task, "judges_tokens", False):
        pytest.skip("it rewards each token that is right, whatever the others are")
    for x in jax.tree.leaves(walk(task)[1].illegal):
        assert (x == x[:, :, :1]).all()


@every_small_task
def test_no_action_beats_the_expert_and_key_decisions_are_those_where_a_wrong_one_costs(task):
    turns, fact = jax.tree.map(lambda x: x[:NUM_FACTS], walk(task))
    np.testing.assert_allclose(fact.best[turns.alive], fact.potential[turns.alive], atol=1e-6)
    assert ((fact.best > fact.worst + 1e-6) == fact.is_key)[turns.alive].all()
    after = np.append(fact.potential[:, 1:], np.zeros((NUM_FACTS, 1)), axis=1)
    taken = turns.reward + np.where(turns.done, 0, after)
    gain = (taken - fact.potential)[
        turns.alive
    ]  # where something is hidden a guess may be lucky, but not on average
    assert (gain.mean() if getattr(task, "hidden", False) else gain.max()) <= 1e-6


@every_small_task
def test_states_of_one_problem_with_the_same_anchor_are_the_same_decision(task):
    """Of one problem, and so of one group: the states of two problems may share an anchor."""
    turns = together(task)
    fact = compiled(
        jax.vmap(
            jax.vmap(lambda s: (task.anchor(s), task.potential(s), task.is_key(s), task.expert(s)))
        )
    )(turns.state)
    time = np.broadcast_to(np.arange(task.spec.num_turns), turns.alive.shape)
    seen = {}
    for anchor, *decision in zip(*(np.asarray(x)[turns.alive] for x in (*fact, time))):
        assert str(seen.setdefault(int(anchor), decision)) == str(decision)


@every_small_task
def test_a_task_whose_steps_draw_random_numbers_lists_their_outcomes(task):
    assert not is_random(task)


class Distribution(NamedTuple):
    """What an action leads to: each outcome's chance, and whether it goes on, is a success, and which state it is; the mean reward."""

    chance: Any
    done: Any
    success: Any
    identity: Any
    reward: Any


def distribution(task, state, action):
    chance, later, step = outcomes(task, state, action)
    identity = identify(jax.vmap(task.anchor)(later), step.observation)
    return Distribution(chance, step.done, step.success, identity, (chance * step.reward).sum())


@every_small_task
def test_states_of_one_problem_that_are_identified_alike_have_the_same_outcomes(task):
    """Of 32 actions; the order in which outcomes are listed is the same too."""
    turns, rng = together(task), np.random.default_rng(2)
    action = rng.choice(task.spec.choices, (32, task.spec.action_length))
    ended = np.cumsum(action == task.spec.end, axis=1) - (action == task.spec.end) > 0
    action = jnp.asarray(np.where(ended, tokens.PAD, action), jnp.int32)

    def look(state, observation):
        return identify(task.anchor(state), observation), jax.vmap(
            lambda a: distribution(task, state, a)
        )(action)

    identity, found = jax.device_get(
        compiled(jax.vmap(jax.vmap(look)))(turns.state, turns.observation)
    )
    _, first, which = np.unique(
        identity[turns.alive], axis=0, return_index=True, return_inverse=True
    )
    assert len(first) < len(which)  # some are met again
    for x in jax.tree.leaves(found):
        np.testing.assert_allclose(x[turns.alive], x[turns.alive][first][which.ravel()], atol=1e-6)


RANDOM = [
    GraphNav(num_nodes=6, num_turns=5, slip=0.3),
    FrozenLake(size=3, num_turns=5, hole=0.4, slip=0.4),
    KeyDoor(delay=8, apple_noise=0.5),
    NoisyVerifier(true_positive=0.8, false_positive=0.3),
    Walk(),
]


@pytest.mark.parametrize("task", RANDOM, ids=lambda task: type(task).__name__)
def test_the_outcomes_that_a_random_task_lists_are_those_of_many_steps(task):
    """Frequencies and mean rewards are within five standard errors, at the states of one random episode and 8 actions."""
    draws, rng = 2048, np.random.default_rng(3)
    action = jnp.asarray(
        rng.choice((*task.spec.choices, WRONG), (8, task.spec.action_length)), jnp.int32
    )
    state = jax.tree.map(lambda x: x[5], together(task).state)

    def drawn(key, state, action):
        later, step = task.step(key, state, action)
        return Distribution(
            (), step.done, step.success, identify(task.anchor(later), step.observation), step.reward
        )

    def look(state, action):
        seen = jax.vmap(lambda key: drawn(key, state, action))(
            jax.random.split(jax.random.key(0), draws)
        )
        return seen, distribution(task, state, action)

    seen, listed = jax.device_get(
        compiled(jax.vmap(jax.vmap(look, (None, 0)), (0, None)))(state, action)
    )
    np.testing.assert_allclose(listed.chance.sum(-1), 1, atol=1e-6)
    assert (seen.reward.std(-1) + listed.chance.std(-1)).max() > 0.1  # something is random
    for t, a in np.ndindex(listed.reward.shape):
        one, many = jax.tree.map(lambda x: x[t, a], (listed, seen))
        kinds = [np.column_stack([x.done, x.success, x.identity]) for x in (one, many)]
        for kind in np.unique(np.concatenate(kinds), axis=0):
            chance, often = (
                one.chance[(kinds[0] == kind).all(1)].sum(),
                (kinds[1] == kind).all(1).mean(),
            )
            assert abs(often - chance) <= 5 * np.sqrt(max(chance * (1 - chance), 0) / draws) + 1e-6
        assert abs(many.reward.mean() - one.reward) <= 5 * many.reward.std() / np.sqrt(draws) + 1e-6


@every_task
def test_prompt_and_turns_can_be_read(task):
    turns, fact = walk(task)
    prompt = task.render_prompt(fact.prompt[0, 0])
    assert prompt.strip() and "\n" not in prompt
    assert all(
        "-> " in task.render_turn(o, a) for o, a in zip(turns.observation[0], turns.action[0])
    )


@pytest.mark.parametrize(
    "cls, knob, value",
    [
        (SortDigits, "num_digits", 0),
        (SortDigits, "base", 17),
        (SortDigits, "answer_length", 3),
        (RunningSum, "num_turns", 0),
        (RunningSum, "modulus", 17),
        (RunningSum, "numbers_per_turn", 0),
        (ChainPit, "num_turns", 0),
        (ChainPit, "num_values", 1),
        (ChainPit, "recovery_turns", 0),
        (KeyDoor, "delay", -1),
        (KeyDoor, "num_keys", 4),
    ],
)
def test_a_knob_out_of_range_is_refused_in_a_sentence_that_names_it(cls, knob, value):
    with pytest.raises(ConfigError, match=rf"{knob} .*not {value}\.$"):
        cls(**{knob: value})


# Single tasks.


def follow(task, *actions):
    """The rewards of the given actions on problem 0, which begin an episode; the rest is the expert's."""
    played = always(task, EXPERT, 1)
    for t, action in enumerate(actions):
        played[0, t] = action
    turns = play(task, played)
    return turns.reward[0].tolist(), turns.alive[0].sum()


@pytest.mark.parametrize(
    "task, horizon",
    [
        (RunningSum(num_turns=3), lambda t: t.spec.num_turns),
        (ChainPit(num_turns=3), lambda t: t.spec.num_turns),
        (KeyDoor(delay=3), lambda t: t.spec.num_turns - 2),
        (SortDigits(num_digits=3), lambda t: t.spec.action_length),
    ],
)
def test_longer_multiplies_the_horizon(task, horizon):
    assert (horizon(task), horizon(task.longer(2))) == (3, 6)


def test_the_expert_sorts_the_prompt():
    turns, fact = walk(SortDigits())
    assert (turns.action[:32, 0] == np.sort(fact.prompt[:32, 0, 1:])).all()


def test_sorting_earns_the_share_of_right_digits():
    task = SortDigits(num_digits=4)
    one_wrong = play(task, always(task, EXPERT)).action.copy()
    one_wrong[:, 0, 2] = tokens.WAIT
    assert (play(task, one_wrong).reward == 0.75).all()
    assert (play(replace(task, reward="exact"), one_wrong).reward == 0).all()


def test_an_exact_answer_ends_with_end_where_there_is_room():
    task = SortDigits(num_digits=2, answer_length=4, reward="exact")
    right = play(task, always(task, EXPERT))
    assert (right.action[..., 2:] == [tokens.END, tokens.PAD]).all() and (right.reward == 1).all()
    goes_on = right.action.copy()
    goes_on[..., 2] = tokens.value(9)
    assert (play(task, goes_on).reward == 0).all()


def test_a_sorting_task_without_end_has_actions_of_fixed_length():
    spec = SortDigits(num_digits=6, answer_length=16, end=False).spec
    assert (spec.prompt_length + spec.observation_length, spec.action_length, spec.end) == (
        8,
        16,
        -1,
    )


def test_the_pit_ends_the_episode_and_charges_what_drift_would():
    pit = ChainPit(num_turns=5, mode="pit", reward="per_step_cost")
    assert follow(pit, EXPERT, EXPERT, WRONG) == ([0, 0, -3, 0, 0], 3)
    assert follow(replace(pit, mode="drift"), EXPERT, EXPERT, WRONG) == ([0, 0, -1, -1, -1], 5)


def test_errors_cost_a_drifting_chain_the_square_of_the_horizon():
    """Error rate .01, 100 turns: the sum over t of 1 - .99^t is 37.24, against 1 where an error lasts for one turn."""
    drift = ChainPit(num_turns=100, mode="drift", reward="per_step_cost")
    for task, cost in (
        (drift, 37.24),
        (replace(drift, mode="unseen_recover", recovery_turns=1), 1.0),
    ):
        errs = np.random.default_rng(0).random((1024, 100, 1)) < 0.01
        paid = -play(task, np.where(errs, WRONG, EXPERT)).reward.sum(axis=1)
        assert abs(paid.mean() - cost) < 4 * paid.std() / np.sqrt(1024)


def test_recovery_takes_that_many_waits_in_a_row():
    task = ChainPit(num_turns=8, mode="unseen_recover", recovery_turns=3)
    actions = [
        WRONG,
        tokens.WAIT,
        tokens.WAIT,
        tokens.value(0),
        tokens.WAIT,
        tokens.WAIT,
        tokens.WAIT,
        EXPERT,
    ]
    verdict = play(task, np.reshape(actions, (1, 8, 1))).observation[0, :, 2]
    assert tokens.text(verdict) == "OK FAIL FAIL FAIL FAIL FAIL FAIL OK"


def test_only_where_recovery_is_demonstrated_do_demonstrations_hold_it():
    def waits(mode):
        task = ChainPit(mode=mode, recovery_turns=3)
        return set(
            (play(task, always(task, EXPERT)).action == tokens.WAIT).sum(axis=(1, 2)).tolist()
        )

    assert (waits("drift"), waits("unseen_recover"), waits("demoed_recover")) == ({0}, {0}, {3})


def test_an_early_mistake_is_no_key_decision_where_there_is_time_to_recover():
    task = ChainPit(num_turns=6, mode="unseen_recover", recovery_turns=2)
    assert walk(task)[1].is_key[0].tolist() == [False, False, False, False, True, True]


def test_a_rule_in_the_prompt_is_drawn_anew_and_is_what_the_expert_follows():
    turns, fact = walk(ChainPit(num_turns=4, num_values=2, rule="prompt"))
    rules = fact.prompt[:32, 0, 1:].reshape(32, 16, 2)
    assert len(np.unique(rules, axis=0)) == 32
    for rule, observation, action in zip(rules, turns.observation, turns.action):
        assert [dict(rule.tolist())[symbol] for symbol in observation[:, 1]] == action[
            :, 0
        ].tolist()


def test_the_door_opens_to_the_right_key_alone():
    task = KeyDoor(delay=2, apple_reward=0.0)
    right = play(task, always(task, EXPERT, 1)).action[0, 0, 0]
    other = tokens.entity((right - tokens.ENTITY + 1) % 4)
    assert follow(task, right, WRONG, WRONG, tokens.OPEN)[0] == [0, 0, 0, 1]
    assert follow(task, other, WRONG, WRONG, tokens.OPEN)[0] == [0, 0, 0, 0]
    assert follow(task, right, WRONG, WRONG, tokens.WAIT)[0] == [0, 0, 0, 0]


def test_two_keys_are_needed_in_the_forecasts_order():
    task = KeyDoor(delay=0, num_keys=2)
    right = play(task, always(task, EXPERT)).action
    swapped = right[:, [1, 0, 2]]
    assert (play(task, swapped).reward[:, 2] == (right[:, 0, 0] == right[:, 1, 0])).all()


def test_apples_are_noisy_with_the_stated_mean_and_deviation():
    task = KeyDoor(delay=8, apple_reward=0.3, apple_noise=0.5)
    turns = play(task, always(task, EXPERT, 1024))
    is_apple = np.isin(turns.observation[..., 1], (tokens.LEFT, tokens.RIGHT))
    apples = turns.reward[is_apple]
    assert (
        abs(apples.mean() - 0.3) < 4 * 0.5 / np.sqrt(apples.size)
        and abs(apples.std() / 0.5 - 1) < 0.05
    )
    assert (turns.reward[:, :-1][~is_apple[:, :-1]] == 0).all() and abs(
        is_apple[:, 1:-1].mean() - 2 / 3
    ) < 0.03


def test_an_apple_is_taken_on_its_own_side_only_and_skipping_experts_take_none():
    task = KeyDoor(delay=8, apple_reward=0.5)
    turns = play(task, always(task, tokens.LEFT))
    assert ((turns.reward == 0.5) == (turns.observation[..., 1] == tokens.LEFT)).all()
    assert (
        play(replace(task, demo_skips_apples=True), always(task, EXPERT)).reward.sum(axis=1) == 1
    ).all()


def test_key_decisions_are_the_pick_and_the_door_until_a_wrong_pick():
    task = KeyDoor(delay=3)
    for pick, is_key in (
        (EXPERT, [True, False, False, False, True]),
        (WRONG, [True, False, False, False, False]),
    ):
        action = always(task, EXPERT, 1)
        action[:, 0] = pick
        assert (
            compiled(jax.vmap(jax.vmap(task.is_key)))(play(task, action).state)[0].tolist()
            == is_key
        )


def test_a_hidden_inventory_looks_the_same_whatever_was_picked():
    for hide in (True, False):
        task = KeyDoor(hide_inventory=hide)
        right, wrong = (play(task, always(task, action)).observation for action in (EXPERT, WRONG))
        assert (right == wrong).all() == hide


def test_a_switched_forecast_names_another_colour_than_the_keys():
    for switched in (True, False):
        turns, fact = walk(KeyDoor(delay=2, apple_reward=0.0, switched=switched))
        assert set(((turns.action[:32, 0, 0] - fact.prompt[:32, 0, 1]) % 4).tolist()) == {
            2 * switched
        }


def test_float_knobs_can_be_traced():
    @jax.jit
    def reward(task):
        state = task.reset(jax.random.key(0))[0]._replace(
            cell=jnp.full(task.spec.num_turns, tokens.LEFT)
        )
        return task.step(jax.random.key(0), state, jnp.array([tokens.LEFT]))[1].reward

    assert [float(reward(KeyDoor(apple_reward=r))) for r in (0.25, 0.5)] == [0.25, 0.5]
