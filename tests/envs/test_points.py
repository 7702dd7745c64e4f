"""Points agrees with a search, a scorer and rules that are written a second time."""

from fractions import Fraction
from functools import cache
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.envs.points import FACE, SUBMIT, UNDO, Points

SIGN = {tokens.PLUS: "+", tokens.MINUS: "-", tokens.TIMES: "*", tokens.DIVIDE: "/"}
TAKE_BACK, GIVE_IN = [tokens.UNDO, tokens.END, tokens.PAD], [tokens.SUBMIT, tokens.END, tokens.PAD]
KEY = jax.random.key(0)


def merge(i, operation, j):
    return [tokens.value(i), operation, tokens.value(j)]


def worth(number, rule):
    """Returns what a number counts."""
    if number <= FACE:
        return number
    return min(number - FACE, 10) if rule == "face10" else number - FACE


def after_merge(number, i, operation, j, rule="plain"):
    """Returns the numbers after a merge, and None if it is illegal."""
    if i == j or max(i, j) >= len(number):
        return None
    a, b = (Fraction(worth(n, rule)) for n in (number[i], number[j]))
    sign = SIGN[operation]
    if rule == "op_swap":
        sign = {"+": "-", "-": "+"}.get(sign, sign)
    if sign == "/" and b == 0:
        return None
    result = {"+": a + b, "-": a - b, "*": a * b}[sign] if sign != "/" else a / b
    kept = [*number]
    kept[min(i, j)] = result
    del kept[max(i, j)]
    return tuple(map(int, kept)) if result.denominator == 1 and 0 <= result <= 99 else None


def fewest_turns(stack, target, rule):
    """Returns the fewest turns to success from a stack of merges, and None if it is impossible."""
    layer, seen, turns = {stack}, set(), 1
    while layer:
        if any(s[-1] == (target,) for s in layer):
            return turns
        seen |= layer
        merges = {
            (*s, after_merge(s[-1], i, o, j, rule))
            for s in layer
            for i, j in permutations(range(len(s[-1])), 2)
            for o in SIGN
        }
        legal, undone = {s for s in merges if s[-1] is not None}, {s[:-1] for s in layer}
        layer = (legal | undone) - seen - {()}
        turns += 1
    return None


@cache
def steps(task):
    def facts(state):
        return task.expert(state), task.potential(state), task.is_key(state)

    return jax.jit(task.step), jax.jit(facts)


def start(task, cards, target):
    """Returns the state in which an episode with these cards and this target begins."""
    state = task.reset(KEY)[0]
    cards, target = jnp.array(cards), jnp.int32(target)
    return state._replace(
        number=state.number.at[0].set(cards),
        target=target,
        best=state.best.at[0].set(task._search(cards, target)),
    )


def play(task, state, *actions):
    """Returns the state and time step after the actions."""
    for action in actions:
        state, step = steps(task)[0](KEY, state, jnp.array(action))
    return state, step


def numbers(state):
    return tuple(n for n in np.array(state.number[state.depth]).tolist() if n >= 0)


def random_walk(task, problem, rng):
    """Yields the states after random legal merges and UNDOs, each with its stack of numbers."""
    state = jax.jit(task.reset)(jax.random.fold_in(KEY, problem))[0]
    stack = (numbers(state),)
    for _ in range(rng.integers(task.spec.num_turns)):
        pairs = list(permutations(range(len(stack[-1])), 2))
        legal = [
            (m, merge(*m))
            for i, j in pairs
            for o in SIGN
            if after_merge(stack[-1], *(m := (i, o, j)), task.rule)
        ]
        if len(stack) > 1 and (not legal or rng.random() < 0.3):
            stack, action = stack[:-1], TAKE_BACK
        else:
            chosen, action = legal[rng.integers(len(legal))]
            stack = (*stack, after_merge(stack[-1], *chosen, task.rule))
        state, _ = play(task, state, action)
        assert numbers(state) == stack[-1]
        yield state, stack


@pytest.mark.parametrize(
    "rule",
    [
        "op_swap",
        *(pytest.param(r, marks=pytest.mark.slow) for r in ("plain", "face10", "face_rank")),
    ],
)
def test_potential_and_expert_are_those_of_an_independent_search(rule):
    task, rng, dead_ends = Points(num_turns=6, rule=rule), np.random.default_rng(0), 0
    for problem in range(15):
        for state, stack in random_walk(task, problem, rng):
            action, potential, _ = steps(task)[1](state)
            fewest = fewest_turns(stack, int(state.target), rule)
            assert potential == (fewest <= task.spec.num_turns - int(state.turn))
            after, step = play(task, state, action)
            levels = np.array(after.number).tolist()[: int(after.depth) + 1]
            stack = tuple(tuple(n for n in level if n >= 0) for level in levels)
            if fewest == 1:
                assert step.success
            else:
                assert fewest_turns(stack, int(state.target), rule) == fewest - 1
            dead_ends += int(state.best[state.depth]) == UNDO
    assert dead_ends >= 5


@pytest.mark.slow
def test_four_cards_are_searched_as_well():
    task = Points(num_cards=4)
    state = start(task, [4, 7, 8, 8], 24)  # (7 - 8 / 8) * 4
    for turn in range(4):
        assert fewest_turns((numbers(state),), 24, "plain") == 4 - turn
        state, step = play(task, state, task.expert(state))
    assert step.success and start(task, [1, 1, 1, 1], 24).best[0] == UNDO


def test_an_expression_is_right_if_reasoning_gym_says_so():
    """It merges three cards in 500 ways, half of which lead to the target."""
    countdown = pytest.importorskip("reasoning_gym.games.countdown")
    scorer = countdown.CountdownDataset(countdown.CountdownConfig(size=1))
    task, rng = Points(), np.random.default_rng(0)
    actions, cards, targets, expressions = [], [], [], []
    while len(actions) < 500:
        card = number = tuple(rng.integers(1, 11, 3).tolist())
        words, played = [str(c) for c in card], []
        while len(number) > 1:
            i, j = rng.permutation(len(number))[:2].tolist()
            operation = int(rng.choice(list(SIGN)))
            if (after := after_merge(number, i, operation, j)) is None:
                continue
            words[min(i, j)] = f"({words[i]} {SIGN[operation]} {words[j]})"
            del words[max(i, j)]
            played, number = [*played, merge(i, operation, j)], after
        actions, cards = [*actions, [*played, GIVE_IN]], [*cards, card]
        targets = [*targets, number[0] + int(rng.choice([0, rng.integers(1, 9)]))]
        expressions = [*expressions, words[0]]

    def reward(card, target, action):
        state, _ = task.reset(KEY)
        state = state._replace(number=state.number.at[0].set(card), target=target)
        for a in action:
            state, step = task.step(KEY, state, a)
        return step.reward

    rewards = jax.jit(jax.vmap(reward))(jnp.array(cards), jnp.array(targets), jnp.array(actions))
    entries = [
        {"metadata": {"numbers": list(card), "target": target}}
        for card, target in zip(cards, targets)
    ]
    scores = [
        scorer.score_answer(expression, entry) for expression, entry in zip(expressions, entries)
    ]
    assert (np.array(rewards) == (np.array(scores) == 1)).all() and 0.4 < np.mean(rewards) < 0.6


@pytest.mark.parametrize(
    "rule, cards, action, result",
    [
        ("plain", [8, 3, 2], merge(2, tokens.MINUS, 1), None),  # -1
        ("plain", [8, 3, 2], merge(1, tokens.DIVIDE, 2), None),  # 3/2
        ("plain", [8, 3, 2], merge(0, tokens.DIVIDE, 2), (4, 3)),
        ("plain", [8, 3, 2], merge(2, tokens.TIMES, 1), (8, 6)),
        ("plain", [8, 3, 2], merge(1, tokens.PLUS, 1), None),
        ("plain", [8, 3, 2], merge(1, tokens.PLUS, 3), None),
        ("plain", [8, 3, 2], [tokens.value(1), tokens.PLUS, tokens.END], None),
        ("plain", [8, 3, 2], TAKE_BACK, None),
        ("plain", [10, 10, 2], merge(0, tokens.TIMES, 1), None),  # 100
        ("op_swap", [8, 3, 2], merge(0, tokens.PLUS, 1), (5, 2)),
        ("op_swap", [8, 3, 2], merge(0, tokens.MINUS, 1), (11, 2)),
        ("face10", [FACE + 13, 3, 2], merge(0, tokens.PLUS, 1), (13, 2)),
        ("face_rank", [FACE + 13, 3, 2], merge(0, tokens.PLUS, 1), (16, 2)),
    ],
)
def test_a_result_takes_the_first_place_and_illegal_actions_change_nothing(
    rule, cards, action, result
):
    task = Points(rule=rule)
    state, step = play(task, start(task, cards, 24), action)
    assert numbers(state) == (result or tuple(cards)) and state.turn == 1
    assert step.observation[0] == (tokens.OK if result else tokens.ERR) and not step.done


def test_undo_takes_back_one_merge_after_the_other():
    task = Points()
    first, second = merge(0, tokens.PLUS, 1), merge(1, tokens.TIMES, 0)
    seen = [
        numbers(play(task, start(task, [1, 2, 3], 9), *actions)[0])
        for actions in ([first, second, *[TAKE_BACK] * n] for n in range(3))
    ]
    assert seen == [(9,), (3, 3), (1, 2, 3)]


def test_submit_ends_the_episode_and_only_the_target_alone_is_success():
    task, first = Points(), merge(0, tokens.PLUS, 1)
    ways = (
        [first, merge(0, tokens.TIMES, 1), GIVE_IN],
        [first, merge(0, tokens.PLUS, 1), GIVE_IN],
        [first, GIVE_IN],
        [GIVE_IN],
    )
    last = [play(task, start(task, [1, 2, 3], 9), *way) for way in ways]
    assert all(step.done for _, step in last)
    assert [float(step.reward) for _, step in last] == [1, 0, 0, 0]
    assert all(task.potential(state) == 0 for state, _ in last)


def test_on_the_target_the_choice_matters_in_the_last_turns_only():
    task = Points(num_turns=6)
    merges = merge(0, tokens.PLUS, 1), merge(0, tokens.TIMES, 1)
    state, _ = play(task, start(task, [1, 2, 3], 9), *merges)
    _, facts = steps(task)
    is_key = [bool(facts(state._replace(turn=jnp.int32(turn)))[2]) for turn in range(2, 7)]
    assert is_key == [False, False, True, True, False] and state.best[state.depth] == SUBMIT


def test_a_face_card_is_shown_by_its_rank_and_a_number_by_its_digits():
    task = Points(rule="face10")
    number = jnp.array([FACE + 11, 11, 9])
    observation = play(task, start(task, number, 24), TAKE_BACK)[1].observation
    assert tokens.text(observation) == "ERR v0 v11 v1 v1 v0 v9"
    text = task.render_turn(np.array(observation), np.array(merge(0, tokens.PLUS, 2)))
    assert text == "illegal; J 11 9 -> J + 9"


def test_face_cards_are_drawn_only_if_the_rule_says_what_they_count():
    highest = {"plain": 10, "op_swap": 10, "face10": FACE + 13, "face_rank": FACE + 13}
    for rule, most in highest.items():
        draw = jax.jit(jax.vmap(lambda key: Points(rule=rule).reset(key)[0].number[0]))
        cards = draw(jax.random.split(KEY, 200))
        assert (cards.min(), cards.max()) == (1, most)


def test_the_prompt_names_the_rule_and_longer_gives_more_turns():
    rules, state = ("plain", "op_swap", "face10", "face_rank"), Points().reset(KEY)[0]
    others = [Points(rule=rule).other_rule().rule for rule in rules]
    assert others == ["op_swap", "plain", "face_rank", "face10"]
    assert len({int(Points(rule=rule).prompt(state)[1]) for rule in rules}) == 4
    assert Points().longer(2).spec.num_turns == 14
    assert Points(num_turns=5).longer(3).spec.num_turns == 15
