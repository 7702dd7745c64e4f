"""ChainPit: the cost of errors in each mode, and recovery."""

from dataclasses import replace

import numpy as np

from agentic_rl import tokens
from agentic_rl.envs.chain_pit import ChainPit
from tests.envs.episodes import EXPERT, NUM_EXPERT, WRONG, always, follow, play, walk


def test_the_pit_ends_the_episode_and_charges_what_drift_would():
    pit = ChainPit(num_turns=5, mode="pit", reward="per_step_cost")
    assert follow(pit, EXPERT, EXPERT, WRONG) == ([0, 0, -3, 0, 0], 3)
    assert follow(replace(pit, mode="drift"), EXPERT, EXPERT, WRONG) == ([0, 0, -1, -1, -1], 5)


def test_errors_cost_a_drifting_chain_the_square_of_the_horizon():
    """At error rate .01 and 100 turns, the cost is the sum over t of 1 - .99^t, which is 37.24.

    If an error lasts for one turn, it is 1.
    """
    drift = ChainPit(num_turns=100, mode="drift", reward="per_step_cost")
    recovers = replace(drift, mode="unseen_recover", recovery_turns=1)
    for task, cost in ((drift, 37.24), (recovers, 1.0)):
        errs = np.random.default_rng(0).random((1024, 100, 1)) < 0.01
        paid = -play(task, np.where(errs, WRONG, EXPERT)).reward.sum(axis=1)
        assert abs(paid.mean() - cost) < 4 * paid.std() / np.sqrt(1024)


def test_recovery_takes_the_stated_number_of_waits_in_a_row():
    task = ChainPit(num_turns=8, mode="unseen_recover", recovery_turns=3)
    wait = tokens.WAIT
    actions = [WRONG, wait, wait, tokens.value(0), wait, wait, wait, EXPERT]
    verdict = play(task, np.reshape(actions, (1, 8, 1))).observation[0, :, 2]
    assert tokens.text(verdict) == "OK FAIL FAIL FAIL FAIL FAIL FAIL OK"


def test_only_demoed_recover_shows_recovery_in_demonstrations():
    def num_waits(mode):
        task = ChainPit(mode=mode, recovery_turns=3)
        action = play(task, always(task, EXPERT)).action
        return set((action == tokens.WAIT).sum(axis=(1, 2)).tolist())

    assert num_waits("drift") == num_waits("unseen_recover") == {0}
    assert num_waits("demoed_recover") == {3}


def test_a_mistake_that_leaves_time_to_recover_is_no_key_decision():
    task = ChainPit(num_turns=6, mode="unseen_recover", recovery_turns=2)
    assert walk(task)[1].is_key[0].tolist() == [False, False, False, False, True, True]


def test_a_rule_in_the_prompt_is_drawn_anew_and_followed_by_the_expert():
    turns, fact = walk(ChainPit(num_turns=4, num_values=2, rule="prompt"))
    rules = fact.prompt[:NUM_EXPERT, 0, 1:].reshape(NUM_EXPERT, 16, 2)
    assert len(np.unique(rules, axis=0)) == NUM_EXPERT
    for rule, observation, action in zip(rules, turns.observation, turns.action):
        values = dict(rule.tolist())
        assert [values[symbol] for symbol in observation[:, 1]] == action[:, 0].tolist()


def test_longer_multiplies_the_turns():
    assert ChainPit(num_turns=3).longer(2).spec.num_turns == 6
