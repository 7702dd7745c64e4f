"""SortDigits: the expert's answer, the two rewards, and END."""

from dataclasses import replace

import numpy as np

from agentic_rl import tokens
from agentic_rl.envs.sort_digits import SortDigits
from tests.envs.episodes import EXPERT, NUM_EXPERT, always, play, walk


def test_the_expert_sorts_the_prompt():
    turns, fact = walk(SortDigits())
    digits = fact.prompt[:NUM_EXPERT, 0, 1:]
    assert (turns.action[:NUM_EXPERT, 0] == np.sort(digits)).all()


def test_sorting_earns_the_share_of_right_digits():
    task = SortDigits(num_digits=4)
    one_wrong = play(task, always(task, EXPERT)).action.copy()
    one_wrong[:, 0, 2] = tokens.WAIT
    assert (play(task, one_wrong).reward == 0.75).all()
    assert (play(replace(task, reward="exact"), one_wrong).reward == 0).all()


def test_an_exact_answer_ends_with_end_if_there_is_room():
    task = SortDigits(num_digits=2, answer_length=4, reward="exact")
    right = play(task, always(task, EXPERT))
    assert (right.action[..., 2:] == [tokens.END, tokens.PAD]).all() and (right.reward == 1).all()
    goes_on = right.action.copy()
    goes_on[..., 2] = tokens.value(9)
    assert (play(task, goes_on).reward == 0).all()


def test_without_end_actions_have_a_fixed_length():
    spec = SortDigits(num_digits=6, answer_length=16, end=False).spec
    assert spec.prompt_length + spec.observation_length == 8
    assert (spec.action_length, spec.end) == (16, -1)


def test_longer_multiplies_the_digits():
    assert SortDigits(num_digits=3).longer(2).spec.action_length == 6
