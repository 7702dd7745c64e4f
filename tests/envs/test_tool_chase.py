"""ToolChase agrees with a player in plain Python, and with episodes on a table by hand."""

import functools
import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.envs.tool_chase import ToolChase

KEY, VALUE, END, WAIT = tokens.entity, tokens.value, tokens.END, tokens.WAIT
LOOKUP, ANSWER, CALC, PLUS = tokens.LOOKUP, tokens.ANSWER, tokens.CALC, tokens.PLUS


@functools.cache
def compiled(task, method):
    return jax.jit(getattr(task, method))


def say(*words):
    return jnp.array([*words, *[tokens.PAD] * (4 - len(words))])


def step(task, state, *words):
    return compiled(task, "step")(jax.random.key(0), state, say(*words))


def start(task, problem=0):
    return compiled(task, "reset")(jax.random.fold_in(jax.random.key(0), problem))[0]


def by_hand(task, fails=()):
    """Returns a start at which n2 leads to n0, which leads to 7; n1 leads back to n2.

    If a sum is asked for, it is 7 + 11 = 2 modulo 16.
    """
    entry, addend = jnp.array([VALUE(7), KEY(2), KEY(0)]), jnp.int32(11 * (task.question == "sum"))
    fails = jnp.isin(jnp.arange(task.num_turns), jnp.array(fails, int))
    shown = jnp.array([tokens.OBS, tokens.EMPTY, KEY(2)])
    return start(task)._replace(
        entry=entry, chain=jnp.array([2, 0]), addend=addend, fails=fails, shown=shown
    )


def play(task, state, *actions):
    """Returns the rewards, and the last state and time step."""
    rewards = []
    for words in actions:
        state, timestep = step(task, state, *words)
        rewards.append(round(float(timestep.reward), 6))
    return rewards, state, timestep


SMALL = ToolChase(num_entries=3, num_turns=5, failure=0.0)
SUM = replace(SMALL, question="sum")


def test_pointers_lead_to_the_value_and_the_answer_ends_the_episode():
    _, state, shown = play(SMALL, by_hand(SMALL), (LOOKUP, KEY(2), END))
    assert tokens.text(shown.observation) == "OBS LOOKUP n0"
    _, state, shown = play(SMALL, state, (LOOKUP, KEY(0), END))
    assert tokens.text(shown.observation) == "OBS LOOKUP v7"
    for answer, right in ((7, True), (8, False)):
        rewards, _, last = play(SMALL, state, (ANSWER, VALUE(answer), END))
        assert (rewards, last.done, last.success) == ([right], True, right)


def test_a_sum_is_modulo_16_and_only_where_it_is_asked_for():
    _, state, shown = play(SUM, by_hand(SUM), (CALC, VALUE(7), PLUS, VALUE(11)))
    assert tokens.text(shown.observation) == "OBS CALC v2" and state.summed
    assert play(SUM, state, (ANSWER, VALUE(2), END))[0] == [1]
    _, _, shown = play(SMALL, by_hand(SMALL), (CALC, VALUE(7), PLUS, VALUE(11)))
    assert tokens.text(shown.observation) == "ERR EMPTY n2"


def test_a_failing_tool_shows_the_last_result_and_the_expert_asks_again():
    state = by_hand(SMALL, fails=[1])
    _, state, shown = play(SMALL, state, (LOOKUP, KEY(2), END), (LOOKUP, KEY(0), END))
    assert tokens.text(shown.observation) == "ERR LOOKUP n0"
    assert tokens.text(SMALL.expert(state)[:3]) == "LOOKUP n0 END" and SMALL.potential(state) == 1


def test_waiting_and_answering_cannot_fail():
    state = by_hand(SMALL, fails=[0, 1])
    _, _, shown = play(SMALL, state, (WAIT, END), (ANSWER, VALUE(7), END))
    assert shown.success


@pytest.mark.parametrize(
    "words",
    [
        (LOOKUP, KEY(3), END),
        (LOOKUP, KEY(2), KEY(0)),
        (ANSWER, KEY(2), END),
        (WAIT, KEY(0)),
        (END,),
    ],
)
def test_a_malformed_action_only_costs_a_turn(words):
    before = by_hand(SMALL)
    _, after, shown = play(SMALL, before, words)
    assert tokens.text(shown.observation) == "ERR EMPTY n2"
    assert not after.seen.any() and after.turn == 1


def player(task, state, turn, seen, summed):
    """Returns the return of asking for the first entry of the chain that is not yet seen."""
    need = [k for k in state.chain.tolist() if k not in seen]
    need += ["sum"] * (task.question == "sum" and not summed)
    if turn == task.num_turns:
        return 0.0
    if not need:
        return 1.0
    if len(need) >= task.num_turns - turn and not task.process_reward:
        return 0.0  # waits
    works, bonus = not state.fails[turn], 0.1 * task.process_reward
    if works:
        seen, summed = seen | {need[0]}, summed or need[0] == "sum"
    return works * bonus - task.call_cost + player(task, state, turn + 1, seen, summed)


@pytest.mark.parametrize(
    "task",
    [
        ToolChase(4, 3, 6, question="sum", failure=0.4, process_reward=p, call_cost=0.01)
        for p in (False, True)
    ],
)
def test_the_potential_is_the_return_of_a_plain_player_from_any_state(task):
    potential = compiled(task, "potential")
    for problem, turn, summed in itertools.product(range(10), range(7), (False, True)):
        seen = {k for k in range(4) if (problem + turn * 5 + summed) >> k & 1}
        state = start(task, problem)._replace(
            turn=jnp.int32(turn),
            seen=jnp.array([k in seen for k in range(4)]),
            summed=jnp.bool_(summed),
        )
        expected = player(task, state, turn, seen, summed)
        np.testing.assert_allclose(potential(state), expected, atol=1e-6)


def test_with_no_turn_to_spare_only_the_look_ups_of_the_chain_succeed():
    task = replace(SMALL, num_turns=3)
    for first, second in itertools.product([(LOOKUP, KEY(k), END) for k in range(3)], repeat=2):
        _, state, _ = play(task, by_hand(task), first, second)
        knows = {first[1], second[1]} == {KEY(0), KEY(2)}
        assert task.potential(state) == knows
        assert tokens.text(task.expert(state)[:2]) == ("ANSWER v7" if knows else "WAIT END")


def test_calls_cost_and_verifiable_turns_pay():
    task = replace(SMALL, call_cost=0.01, process_reward=True)
    actions = (
        (LOOKUP, KEY(2), END),
        (LOOKUP, KEY(1), END),
        (LOOKUP, LOOKUP, END),
        (LOOKUP, KEY(0), END),
        (ANSWER, VALUE(7), END),
    )
    assert play(task, by_hand(task), *actions)[0] == [0.09, -0.01, -0.1, 0.09, 1]
    assert set(play(SMALL, by_hand(SMALL), *actions)[0][:-1]) == {0}


def test_the_tool_never_fails_so_often_that_time_runs_out():
    task = ToolChase(failure=1.0)
    assert start(task).fails.tolist() == [True] * 3 + [False] * 3
    share = np.mean([start(ToolChase(num_turns=12, failure=0.2), i).fails for i in range(300)])
    assert abs(share - 0.2) < 0.02


def test_the_other_rule_exchanges_verbs_and_the_prompt_says_so():
    other = SMALL.other_rule()
    state = by_hand(other)
    assert tokens.text(other.prompt(state)) == "BOS n2 ANSWER LOOKUP"
    assert tokens.text(SMALL.prompt(state)) == "BOS n2 LOOKUP ANSWER"
    actions = (ANSWER, KEY(2), END), (ANSWER, KEY(0), END), (LOOKUP, VALUE(7), END)
    assert play(other, state, *actions)[0] == [0, 0, 1]
    assert tokens.text(play(other, state, (LOOKUP, KEY(2), END))[2].observation) == "ERR EMPTY n2"


def test_longer_multiplies_the_chain_and_grows_the_table_to_hold_it():
    longer = ToolChase(depth=3).longer(4)
    assert (longer.depth, longer.num_turns, longer.num_entries) == (12, 24, 13)
    assert len(set(start(longer).chain.tolist())) == 12
