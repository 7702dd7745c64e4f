"""Exact values and their gradient against a recursion in plain numpy over all that can happen."""

from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import algorithms, parallel, tokens
from agentic_rl.config import ConfigError, config
from agentic_rl.credit.gae import GAE
from agentic_rl.envs.chain_pit import ChainPit
from agentic_rl.envs.graph_nav import GraphNav
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.envs.sort_digits import SortDigits
from agentic_rl.exact import actions, dynamic_programming
from agentic_rl.exact.state_graph import is_random
from agentic_rl.policy import transformer
from agentic_rl.rollout.actors import Random
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training import experience
from agentic_rl.values.exact import Exact
from tests.toys import TINY, Walk, compiled, weights

MARKOV = replace(TINY, context="markov")
RETURNS = ChainPit(
    num_turns=3, num_values=2, mode="unseen_recover", recovery_turns=1, reward="per_step_cost"
)
SLIPS = GraphNav(num_nodes=4, num_turns=3, num_rooms=1, slip=0.3)
LONG = Walk(num_turns=2, size=5, action_length=3)  # three tokens an action
STROLL = Walk(num_turns=3, size=4, action_length=2)
CASES = {
    "chain_pit": (RETURNS, MARKOV, 4),
    "chain_pit, remembered": (replace(RETURNS, num_turns=2), TINY, 64),
    "pit, remembered": (ChainPit(num_turns=3, num_values=2), TINY, 1),
    "key_door": (KeyDoor(delay=0), MARKOV, 5),
    "graph_nav": (SLIPS, MARKOV, 32),
    "walk": (STROLL, MARKOV, 8),
    "long": (LONG, MARKOV, 8),
    "sort_digits": (SortDigits(num_digits=2, base=3), MARKOV, 1),
}
SLOW = ("chain_pit", "pit, remembered", "key_door", "long", "sort_digits")
every_case = pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * (case in SLOW)) for case in CASES]
)


@config
class Babble(Random):
    """Draws one of the task's choices three times out of four, else any token."""

    def act(self, task, key, state):
        kind, choice, other = jax.random.split(key, 3)
        drawn = jax.random.choice(
            choice, jnp.array((*task.spec.choices, tokens.END)), (task.spec.action_length,)
        )
        every = jax.random.randint(other, drawn.shape, 0, tokens.VOCABULARY)
        return jnp.where(jax.random.uniform(kind, drawn.shape) < 0.75, drawn, every)


@cache
def played(task):
    """Returns four episodes at each of three problems, with their states."""
    with jax.enable_x64(False):
        return compiled(
            lambda: rollout(task, Babble(), jax.random.key(0), jnp.arange(3), 4, keep_states=True)
        )()


@cache
def wide(task, policy_config):
    """Returns weights in float64 that make some of the task's choices likely."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float64),
        weights(policy_config, seed=1, likely=(*task.spec.choices[::2], tokens.END)),
    )


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


class Result(NamedTuple):
    """The solution of a case, with the values of its episodes and the expected returns."""

    solution: dynamic_programming.Solution
    value: Any
    expected: Any


def solve(case, params, trajectory, capacity=None, chunk=256):
    task, policy_config, usual = CASES[case]
    result = dynamic_programming.solve(
        task, policy_config, params, trajectory, capacity or usual, chunk
    )
    return Result(
        result,
        dynamic_programming.values(result, trajectory),
        dynamic_programming.expected_return(result.table),
    )


@cache
def solver(case, **settings):
    return compiled(lambda params, trajectory: solve(case, params, trajectory, **settings))


@cache
def solved(case, **settings):
    task, policy_config, _ = CASES[case]
    return jax.device_get(solver(case, **settings)(wide(task, policy_config), played(task)))


@cache
def gradient(case):
    """Returns the gradient of the sum of all problems' expected returns."""
    task, policy_config, _ = CASES[case]
    return jax.device_get(
        compiled(jax.grad(lambda params: solve(case, params, played(task)).expected.sum()))(
            wide(task, policy_config)
        )
    )


@cache
def follower(task):
    """Returns a function from a state and actions [E, A] to all their outcomes.

    These are chances [E, M], states and steps [E, M, ...].
    """

    def outcomes(state, action):
        if hasattr(task, "outcomes"):
            return task.outcomes(state, action)
        return jnp.ones(1), *jax.tree.map(
            lambda x: x[None], task.step(jax.random.key(0), state, action)
        )

    return compiled(jax.vmap(outcomes, (None, 0)))


@cache
def reader(task, policy_config):
    """Returns a function to the probabilities of tokens [B, T, A, V], in one pass over episodes."""
    return compiled(
        lambda params, token, valid: jax.nn.softmax(
            transformer.apply(policy_config, params, task.spec, token, valid)[0]
        )
    )


class Recursion:
    """A recursion from one state to the next over all sequences of all 64 tokens, none lumped.

    Its sums have two parts: the return, and how often each turn is played.
    """

    def __init__(self, task, policy_config, params):
        self.task, self.policy_config, self.params, self.known = task, policy_config, params, {}
        width = task.spec.action_length
        self.shape = (tokens.VOCABULARY,) * width
        written = np.stack(np.indices(self.shape), axis=-1).reshape(-1, width)
        self.action = np.where(behind_end(written), tokens.PAD, written).astype(np.int32)
        self.prefix = written[:: tokens.VOCABULARY]
        self.follow, self.read = follower(task), reader(task, policy_config)

    def choose(self, past, observation):
        """Returns the probabilities of next tokens, [V], [V, V], ... behind 0, 1, ... tokens."""
        spec, turn = (
            self.task.spec,
            (len(past) - self.task.spec.prompt_length)
            // (self.task.spec.observation_length + len(self.shape)),
        )
        token = np.zeros((len(self.prefix), spec.context_length), int)
        written = np.concatenate(
            [np.tile([*past, *observation], (len(self.prefix), 1)), self.prefix], axis=1
        )
        token[:, : written.shape[1]] = written
        chance = np.asarray(self.read(self.params, token, np.ones_like(token, bool)))[:, turn]
        chance = chance.reshape(*self.shape[1:], len(self.shape), -1)
        return [
            chance[(slice(None),) * a + (0,) * (len(self.shape) - 1 - a) + (a,)]
            for a in range(len(self.shape))
        ]

    def expect(self, past, state, observation):
        """Returns the expected sums behind each prefix of the next action.

        Their shapes are [1 + T], [V, 1 + T], [V, V, 1 + T], ...
        """
        turn = int(state.turn)
        remembered = (
            tuple(past)
            if self.policy_config.context == "history"
            else tuple(past[: self.task.spec.prompt_length])
        )
        name = (remembered, turn, mark(state, observation).tobytes())
        if name not in self.known:
            chance, later, step = jax.device_get(self.follow(state, self.action))
            gain = np.zeros((*chance.shape, 1 + self.task.spec.num_turns))
            gain[..., 0], gain[..., 1 + turn] = step.reward, 1.0
            for e, m in self.distinct(chance, later, step):
                then = jax.tree.map(lambda x: x[e[0], m[0]], later)
                seen = step.observation[e[0], m[0]]
                gain[e, m] += self.expect([*past, *observation, *self.action[e[0]]], then, seen)[0]
            sums = [(chance[..., None] * gain).sum(1).reshape(*self.shape, -1)]
            for p in reversed(self.choose(past, observation)):
                sums.append((p[..., None] * sums[-1]).sum(-2))
            self.known[name] = sums[::-1]
        return self.known[name]

    def distinct(self, chance, later, step):
        """Returns the actions and outcomes that lead to each state from which the episode goes on.

        For a policy with memory the states behind different actions are different.
        """
        e, m = np.nonzero((chance > 0) & ~step.done)
        identities = np.concatenate(
            [
                np.reshape(x[e, m], (len(e), x[0, 0].size))
                for x in jax.tree.leaves((later, step.observation))
            ],
            axis=1,
        )
        identities = np.concatenate(
            [identities, e[:, None] * (self.policy_config.context == "history")], axis=1
        )
        _, which = np.unique(
            identities @ np.random.default_rng(0).normal(size=identities.shape[1]),
            return_inverse=True,
        )
        return [(e[which == i], m[which == i]) for i in range(which.max(initial=-1) + 1)]


def behind_end(action):
    """Returns True where an earlier token of the action is END."""
    ends = action == tokens.END
    return np.cumsum(ends, axis=-1) - ends > 0


def mark(*trees):
    return np.concatenate([np.ravel(x).astype(float) for x in jax.tree.leaves(trees)])


def at(tree, *index):
    return jax.tree.map(lambda x: np.asarray(x)[index], tree)


@cache
def recursion(case):
    task, policy_config, _ = CASES[case]
    return Recursion(task, policy_config, wide(task, policy_config))


def past_of(one, turn):
    """Returns the tokens of an episode before the observation of a turn."""
    return [*one.prompt, *np.concatenate([one.observation, one.action], axis=1)[:turn].ravel()]


@every_case
def test_values_of_every_token_are_those_of_a_full_recursion(case):
    trajectory, result, all_ = (
        jax.device_get(played(CASES[case][0])),
        solved(case).value,
        recursion(case),
    )
    before, after = np.zeros((2, *trajectory.mask.shape))
    for n, g, t in zip(*np.nonzero(trajectory.mask.any(-1))):
        one = at(trajectory, n, g)
        sums = all_.expect(past_of(one, t), at(one.state, t), one.observation[t])
        for a in range(one.mask[t].sum()):
            before[n, g, t, a], after[n, g, t, a] = (
                sums[a + i][(*one.action[t, : a + i], 0)] for i in (0, 1)
            )
    np.testing.assert_allclose(result.before, before, atol=1e-10)
    np.testing.assert_allclose(result.after, after, atol=1e-10)
    assert result.discount == 1 and np.ptp(after - before) > 0.01


both_contexts = pytest.mark.parametrize(
    "case", ["walk", pytest.param("chain_pit, remembered", marks=pytest.mark.slow)]
)


@both_contexts
def test_the_gradient_of_the_expected_return_is_that_of_differences(case):
    task, policy_config, _ = CASES[case]
    trajectory, random = jax.device_get(played(task)), np.random.default_rng(0)
    direction = jax.tree.map(
        lambda x: random.normal(size=x.shape), wide(task, policy_config)
    )

    def total(step):
        all_ = Recursion(
            task,
            policy_config,
            jax.tree.map(lambda x, d: x + step * d, wide(task, policy_config), direction),
        )
        first = [at(trajectory, n, 0) for n in range(3)]
        return sum(
            all_.expect(one.prompt, at(one.state, 0), one.observation[0])[0][0] for one in first
        )

    slope = sum(
        jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), gradient(case), direction))
    )
    assert (
        slope == pytest.approx((total(1e-5) - total(-1e-5)) / 2e-5, rel=1e-6) and abs(slope) > 0.01
    )


@both_contexts
def test_the_gradient_is_visits_times_true_advantage_times_score(case):
    task, policy_config, _ = CASES[case]
    tree, (graph, table, _) = alphabet(case), solved(case).solution
    weight = np.zeros_like(table.log_prob)
    for n in range(3):
        state, place = visited(case, n)
        for s, c in np.ndindex(len(tree.prefix), weight.shape[2]):
            i, chance = len(tree.token) + s, np.exp(table.log_prob[n, :, c, s])
            advantage = table.value[n, :, c][:, tree.child[s]] - table.value[n, :, c, i, None]
            weight[n, :, c, s] = (state[:, c] * place[:, c, i])[:, None] * chance * advantage
    prompt = played(task).prompt[:, 0]

    def score(params):
        return (
            weight
            * dynamic_programming.tabulate(task, policy_config, params, prompt, graph).log_prob
        ).sum()

    chex.assert_trees_all_close(
        gradient(case), compiled(jax.grad(score))(wide(task, policy_config)), rtol=1e-9, atol=1e-10
    )


def alphabet(case):
    return actions.alphabet(*CASES[case][:2])


@cache
def visited(case, n):
    """Returns the probabilities of a problem's states [T, C] and of places there [T, C, places]."""
    graph, table, _ = at(solved(case).solution, n)
    return jax.device_get(
        compiled(
            lambda graph, log_prob: dynamic_programming.visit_probabilities(
                alphabet(case), graph, log_prob
            )
        )(graph, table.log_prob)
    )


@both_contexts
def test_visit_probabilities_sum_to_the_probability_of_being_alive(case):
    trajectory, all_ = jax.device_get(played(CASES[case][0])), recursion(case)
    for n in range(3):
        one, (state, place) = at(trajectory, n, 0), visited(case, n)
        alive = all_.expect(one.prompt, at(one.state, 0), one.observation[0])[0][1:]
        np.testing.assert_allclose(state.sum(1), alive, atol=1e-12)
        np.testing.assert_allclose(place[..., : len(alphabet(case).token)].sum(-1), 1, atol=1e-12)


@both_contexts
def test_the_expected_return_is_visit_probabilities_times_rewards(case):
    result = solved(case)
    for n, total in enumerate(result.expected):
        state, place = visited(case, n)
        reward = result.solution.graph.reward[n]
        assert total == pytest.approx(
            (state[..., None] * place[..., : reward.shape[-1]] * reward).sum(), abs=1e-12
        )
    assert np.ptp(result.expected) > 0.01


@both_contexts
def test_a_prefix_is_worth_what_its_next_tokens_are_in_the_mean(case):
    tree, (_, table, _) = alphabet(case), solved(case).solution
    for s, children in enumerate(tree.child):
        mean = sum(
            np.exp(table.log_prob[..., s, token]) * table.value[..., child]
            for token, child in enumerate(children)
        )
        np.testing.assert_allclose(table.value[..., len(tree.token) + s], mean, atol=1e-12)


@pytest.mark.parametrize("case", ["walk", pytest.param("long", marks=pytest.mark.slow)])
def test_the_tokens_advantages_sum_to_their_turn_s(case):
    trajectory, value = jax.device_get(played(CASES[case][0])), solved(case).value
    assert {1, 2} <= set(trajectory.mask.sum(-1).ravel())
    for n, g, t in zip(*np.nonzero(trajectory.mask.any(-1))):
        last = trajectory.mask[n, g, t].sum() - 1
        turn = value.after[n, g, t, last] - value.before[n, g, t, 0]
        assert (value.after - value.before)[n, g, t].sum() == pytest.approx(turn, abs=1e-12)


def test_masked_tokens_have_no_value():
    mask, value = np.asarray(played(STROLL).mask), solved("walk").value
    assert (~mask).any() and (value.before[~mask] == 0).all() and (value.after[~mask] == 0).all()


def test_the_episodes_of_these_tests_hold_every_complication():
    task = CASES["walk"][0]
    mask, action = np.asarray(played(task).mask), np.asarray(played(task).action)
    alive = mask.any(-1)
    assert not alive.all() and alive[..., 0].all()  # some end early
    assert (alive & ~mask.all(-1)).any() and (
        mask & (action == tokens.END)
    ).any()  # some actions do
    assert (mask & ~np.isin(action, task.spec.choices)).any()  # some tokens are no choice


def test_neither_room_to_spare_nor_the_size_of_a_chunk_changes_a_value():
    result = solved("walk", capacity=32, chunk=7)
    chex.assert_trees_all_close(
        (result.value, result.expected), (solved("walk").value, solved("walk").expected), atol=1e-12
    )


def test_problems_in_another_order_have_the_same_values():
    order = np.array([2, 0, 1])
    result = solver("walk")(wide(STROLL, MARKOV), jax.tree.map(lambda x: x[order], played(STROLL)))
    expected = [getattr(solved("walk").value, name)[order] for name in ("before", "after")]
    chex.assert_trees_all_close([result.value.before, result.value.after], expected, atol=1e-12)


def test_a_problem_with_too_many_states_has_nan_values_and_others_do_not():
    count = solved("graph_nav").solution.graph.states.count.max(-1)
    enough = int(count.min())
    assert enough < count.max()
    result, mask = solved("graph_nav", capacity=enough), np.asarray(played(SLIPS).mask)
    too_many = (count > enough)[:, None, None, None]
    for name in ("before", "after"):
        expected = np.where(
            mask, np.where(too_many, np.nan, getattr(solved("graph_nav").value, name)), 0.0
        )
        np.testing.assert_allclose(getattr(result.value, name), expected, atol=1e-12)
    assert (np.isnan(result.expected) == too_many.ravel()).all()


def test_a_turn_in_a_state_that_cannot_follow_has_no_value():
    trajectory = played(STROLL)
    other = trajectory.observation.at[:, :, 1, 1].set(tokens.OPEN)
    result, mask = (
        solver("walk")(wide(STROLL, MARKOV), trajectory._replace(observation=other)).value,
        np.asarray(trajectory.mask),
    )
    assert np.isnan(result.before[:, :, 1][mask[:, :, 1]]).all() and mask[:, :, 1].any()
    np.testing.assert_allclose(
        result.after[:, :, 0], solved("walk").value.after[:, :, 0], atol=1e-12
    )


# The value source


def test_with_exact_values_and_lambda_0_credit_is_the_true_advantage():
    oracle = algorithms.swap(
        algorithms.GRPO,
        values=Exact(),
        credit=GAE(lambda_=0.0, whiten=False),
        problems=3,
        attempts=2,
        minibatches=1,
    )
    params, key = wide(STROLL, MARKOV), jax.random.key(0)

    def make_experience(params):
        weights = experience.Weights(params, params, ())
        trajectory, _ = experience.collect(MARKOV, STROLL, oracle, weights, key, jnp.arange(3), 3)
        return trajectory, experience.experience(
            MARKOV, STROLL, oracle, weights, key, jnp.int32(0), 3
        )

    with jax.enable_x64(False):
        trajectory, result = jax.device_get(
            parallel.launch(make_experience, parallel.choose(1), "pmap")(
                weights(MARKOV, seed=1, likely=(*STROLL.spec.choices[::2], tokens.END))
            )
        )
    value = solver("walk")(params, trajectory).value
    np.testing.assert_allclose(
        result.batch.credit.reshape(trajectory.mask.shape), value.after - value.before, atol=1e-5
    )
    assert (
        result.spent["env_steps"] == trajectory.mask.any(-1).sum()
        and result.spent["generated_tokens"] == trajectory.mask.sum()
    )


def test_it_is_refused_where_there_are_more_states_than_it_has_room_for():
    Exact(capacity=3).check(STROLL, MARKOV)
    with pytest.raises(
        ConfigError,
        match="^Walk comes to 3 states a turn or more, but .*capacity is 2: raise it, .*forks.$",
    ):
        Exact(capacity=2).check(STROLL, MARKOV)


def test_it_is_refused_for_several_tokens_in_the_context_of_the_history():
    with pytest.raises(
        ConfigError,
        match="^Walk has actions of 2 tokens: .* set --policy.context markov, .*forks.$",
    ):
        Exact().check(STROLL, TINY)


def test_it_is_refused_where_there_are_too_many_actions_to_list():
    with pytest.raises(
        ConfigError,
        match="^There are 131,071 actions of up to 16 tokens, and 100,000 at most can be .*forks.$",
    ):
        Exact().check(Walk(action_length=16), MARKOV)


def test_it_is_refused_where_a_random_task_lists_nothing(monkeypatch):
    assert not is_random(STROLL)
    monkeypatch.delattr(Walk, "outcomes")
    assert is_random(STROLL)
    with pytest.raises(
        ConfigError,
        match="^Walk is random and does not list its outcomes, .*: use --values forks.$",
    ):
        Exact().check(STROLL, MARKOV)
