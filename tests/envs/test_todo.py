"""Todo agrees with a game in plain Python, with networkx, and with episodes by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.envs.todo import Todo

ITEM, END = tokens.entity, tokens.END


@functools.cache
def compiled(task, method):
    return jax.jit(getattr(task, method))


def start(task, problem=0):
    return compiled(task, "reset")(jax.random.fold_in(jax.random.key(0), problem))[0]


def say(task, *words):
    """Returns the action of these words and, if there is room, END."""
    length = task.spec.action_length
    return jnp.array([*words, END, *[tokens.PAD] * length])[:length]


def stepper(task):
    return lambda state, *words: compiled(task, "step")(jax.random.key(0), state, say(task, *words))


def recipes(task, state, hidden=True):
    """Returns {item: the set of items it needs}, read off the instance."""
    return {
        i: {int(n) for n in recipe[: 2 + hidden] if n < task.num_items}
        for i, recipe in enumerate(state.recipe.tolist())
    }


def fewest_turns(task, state):
    """Returns the fewest turns to success, by a breadth-first search over the items."""
    needs, goal = recipes(task, state), int(state.order[-1])
    undoes = not needs[goal] - recipes(task, state, hidden=False)[goal]
    frontier, turns = {(tuple(state.work.tolist()), int(state.finished))}, 1
    while not any(work[goal] == task.steps for work, _ in frontier):
        after = set()
        for work, finished in frontier:
            for i in range(task.num_items):
                if work[i] < task.steps and all(work[n] == task.steps for n in needs[i]):
                    finishes = work[i] + 1 == task.steps
                    struck = finishes and undoes and finished + 1 == int(state.event)
                    after.add(
                        (work[:i] + (work[i] + (not struck),) + work[i + 1 :], finished + finishes)
                    )
        frontier, turns = after, turns + 1
    return turns + (task.plan_mode == "free" and int(state.turn) == 0)


@pytest.mark.parametrize(
    "task",
    [
        Todo(turn_cost=0.02),
        Todo(events=True, turn_cost=0.02),
        Todo(3, steps=2, events=True, turn_cost=0.02),
    ],
)
def test_the_expert_takes_the_fewest_turns_from_any_state(task):
    rng, step, potential = np.random.default_rng(0), stepper(task), compiled(task, "potential")
    for problem in range(50):
        state = start(task, problem)
        for _ in range(5):
            need, left = fewest_turns(task, state), task.spec.num_turns - int(state.turn)
            value = 1 - 0.02 * need if need <= left else -0.02
            np.testing.assert_allclose(potential(state), value, rtol=1e-5)
            state, _ = step(state, ITEM(int(rng.integers(task.num_items))))


@pytest.mark.parametrize(
    "task",
    [
        Todo(turn_cost=0.02),
        Todo(8, events=True, plan_mode="random"),
        Todo(events=True, plan_mode="none"),
    ],
)
def test_the_experts_return_from_any_state_is_the_potential(task):
    rng, step = np.random.default_rng(1), stepper(task)
    move = jax.jit(lambda state: task.step(jax.random.key(0), state, task.expert(state)))
    for problem in range(25):
        state, total, done = start(task, problem), 0.0, False
        for _ in range(problem % 4):
            items = ITEM(rng.integers(task.num_items, size=2)).tolist()
            state, _ = step(state, *items[: 1 + problem % 2])
        promised = float(task.potential(state))
        while not done:
            state, (_, reward, done, _) = move(state)
            total += float(reward)
        np.testing.assert_allclose(total, promised, rtol=1e-5)


def test_the_experts_list_is_the_goals_ancestors_in_topological_order():
    networkx = pytest.importorskip("networkx")
    task = Todo(num_items=8)
    expert = compiled(task, "expert")
    for problem in range(50):
        state = start(task, problem)
        edges = [(n, i) for i, needs in recipes(task, state).items() for n in needs]
        graph, goal = networkx.DiGraph(edges), int(state.order[-1])
        items = [int(t) - tokens.ENTITY for t in expert(state) if t >= tokens.ENTITY]
        assert networkx.is_directed_acyclic_graph(graph)
        assert items[-1] == goal and {*items} == networkx.ancestors(graph, goal) | {goal}
        assert all(items.index(a) < items.index(b) for a, b in graph.edges if b in items)


def by_hand(task, event=0, hidden=3):
    """Returns a start at which n2 is the goal and needs n1, which needs n0; n3 is not needed."""
    extra = hidden if event else 4
    needed_at_first = jnp.array([True, True, True, False])
    return start(task)._replace(
        order=jnp.array([3, 0, 1, 2]),
        recipe=jnp.array([[4, 4, 4], [0, 4, 4], [1, 4, extra], [4, 4, 4]]),
        needed_at_first=needed_at_first,
        needed=needed_at_first.at[3].set(extra < 4),
        event=jnp.int32(event),
    )


def test_an_item_needs_its_prerequisites_and_is_done_once():
    task = Todo(num_items=4, plan_mode="none")
    state, step = by_hand(task), stepper(task)
    for item, verdict, done in (
        (1, "ERR", "...."),
        (0, "OK", "x..."),
        (0, "ERR", "x..."),
        (1, "OK", "xx.."),
        (2, "OK", "xxx."),
    ):
        state, (observation, *_) = step(state, ITEM(item))
        assert tokens.text(observation[1:2]) == verdict
        assert "".join("x" if t == tokens.OK else "." for t in observation[5:]) == done
    _, (_, reward, over, success) = step(state, tokens.DONE)
    assert (reward, over, success) == (1, True, True)


def test_done_before_the_goal_is_failure_and_ends_the_episode():
    task = Todo(num_items=4, plan_mode="none")
    state, (_, reward, over, success) = stepper(task)(by_hand(task), tokens.DONE)
    assert (reward, over, success) == (0, True, False) and task.potential(state) == 0


def test_observations_show_the_next_item_and_replan_rewrites_the_list():
    task = Todo(num_items=4, max_replan=1)
    step = stepper(task)
    state, (observation, *_) = step(by_hand(task), ITEM(3), ITEM(0), ITEM(1))
    assert tokens.text(observation[:4]) == "ACT OK n3 v1"
    state, (observation, *_) = step(state, tokens.REPLAN, ITEM(0), ITEM(2))
    assert tokens.text(observation[:4]) == "ACT OK n2 v0" and state.work.tolist() == [1, 0, 0, 0]
    _, (observation, *_) = step(state, tokens.REPLAN, ITEM(1))
    assert tokens.text(observation[:4]) == "ACT ERR n2 v0"


def test_a_hidden_prerequisite_is_shown_when_it_comes_and_replanned():
    task = Todo(num_items=4, events=True)
    state, step = by_hand(task, event=2), stepper(task)
    state, (observation, *_) = step(state, ITEM(0), ITEM(1), ITEM(2))
    for item, extra in ((0, "EMPTY"), (1, "n3")):
        assert task.expert(state)[0] == ITEM(item)
        state, (observation, *_) = step(state, ITEM(item))
        assert tokens.text(observation[4:5]) == extra
    assert tokens.text(task.expert(state)) == "REPLAN n3 n2 END"
    assert tokens.text(step(state, ITEM(2))[1].observation[1:2]) == "ERR"


def test_an_item_that_comes_undone_is_next_on_the_list_again():
    task = Todo(num_items=4, events=True)
    state, step = by_hand(task, event=1, hidden=4), stepper(task)
    state, _ = step(state, ITEM(0), ITEM(1), ITEM(2))
    state, (observation, *_) = step(state, ITEM(0))
    assert tokens.text(observation[1:3]) == "UNDO n0"
    assert tokens.text(task.expert(state)[:2]) == "n0 END"
    assert tokens.text(step(state, ITEM(0))[1].observation[1:3]) == "OK n1"


@pytest.mark.parametrize(
    "plan_mode, first", [("free", "EMPTY"), ("none", "EMPTY"), ("given", "n0")]
)
def test_the_mode_decides_who_writes_the_list(plan_mode, first):
    task = Todo(plan_mode=plan_mode)
    observation = task.reset(jax.random.fold_in(jax.random.key(0), 0))[1].observation
    state = start(task)
    following = first if plan_mode != "given" else tokens.text(task.expert(state)[:1])
    marker = "THINK" if plan_mode == "free" else "ACT"
    assert tokens.text([observation[0], observation[2]]) == f"{marker} {following}"
    assert sorted(start(Todo(plan_mode="random")).plan.tolist()) == [0, 1, 2, 3, 4]


def test_longer_multiplies_the_work():
    task = Todo(turn_cost=0.01)
    state, longer = start(task), start(task.longer(3))
    assert (state.recipe == longer.recipe).all()
    assert fewest_turns(task.longer(3), longer) - 2 == 3 * (fewest_turns(task, state) - 2)
