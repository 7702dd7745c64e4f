"""Every arm takes as many environment steps, and each rule gives each of its verdicts."""

import numpy as np
import pytest

from agentic_rl.config import ConfigError
from experiments.harness import training_study
from experiments.studies.group_size import (
    CRITIC,
    FINE,
    FORKS,
    NOISE,
    OUTCOME,
    STATES,
    TASKS,
    TURNS,
    VINE,
    GroupSize,
    algorithm_for,
    best,
)


def make_records(rloo=(0.3, 0.6), gigpo=(0.3, 0.5), critic=0.4, forks=0.4, wobble=0.01):
    """Returns records of RLOO and GiGPO with 2 and 64 attempts, and of the other credits."""
    cells = {
        (OUTCOME, 2): rloo[0],
        (OUTCOME, 64): rloo[1],
        (STATES, 2): gigpo[0],
        (STATES, 64): gigpo[1],
        (CRITIC, 1): critic,
        (VINE, 1): forks,
    }
    records = []
    for (credit, attempts), mean in cells.items():
        for seed in range(5):
            varies = credit == OUTCOME and attempts == 64
            success = mean + wobble * (seed - 2) * varies
            arm = dict(task="key_door", credit=credit, attempts=attempts)
            records.append(arm | dict(seed=seed, success=success))
    return records


def outcomes(**changes):
    return [
        v.outcome
        for v in GroupSize(tasks=("key_door",), attempts=(2, 64)).verdicts(make_records(**changes))
    ]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == outcomes(forks=0.63) == ["supported"] * 2
    assert outcomes(critic=0.9, rloo=(0.7, 0.6)) == ["falsified"] * 2
    assert outcomes(gigpo=(0.3, 0.65), rloo=(0.6, 0.6)) == ["inconclusive"] * 2


def test_without_room_below_1_nothing_is_decided():
    assert outcomes(rloo=(0.3, 0.97))[0] == "inconclusive"
    assert outcomes(rloo=(0.3, 0.9))[0] == "supported"


def test_the_best_arm_is_the_best_by_its_mean():
    name, success = best(make_records(forks=0.7), FINE)
    assert name == VINE and success.tolist() == [0.7] * 5
    assert best(make_records(), (OUTCOME,))[0] == "rloo, 64 attempts"


def test_one_number_of_attempts_is_compared_with_no_other():
    asked = GroupSize(tasks=("key_door",), attempts=(64,))
    assert len(asked.verdicts([r for r in make_records() if r["attempts"] != 2])) == 1


@pytest.mark.parametrize("attempts", [2, 16, 64, 256])
def test_algorithms_differ_only_in_credit_and_groups(attempts):
    plain, states = algorithm_for(OUTCOME, attempts), algorithm_for(STATES, attempts)
    critic, forks = algorithm_for(CRITIC, 1), algorithm_for(VINE, 1)
    assert plain.problems * plain.attempts == states.problems * states.attempts == 256
    assert critic.problems == 256
    assert {x.minibatches for x in (plain, states, critic, forks)} == {1}
    steps = TURNS + FORKS * TURNS * (TURNS + 1) // 2  # an episode, and forks from each turn
    assert forks.problems * steps == 256 * TURNS


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_arm_takes_as_many_environment_steps(task):
    tiny = training_study.TINY
    start = training_study.clone_policies(TASKS[task], tiny, 1, 1, noise=NOISE[task])
    for credit, attempts in ((OUTCOME, 4), (VINE, 1)):
        algorithm = algorithm_for(credit, attempts)
        after, _ = training_study.train_policies(start, TASKS[task], tiny, algorithm, 1)
        assert np.subtract(after.budget["env_steps"], start.budget["env_steps"]) == 256 * TURNS


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(tasks=("key_dor",)), "did you mean key_door"),
        (dict(attempts=(3,)), "divisors of 256"),
        (dict(attempts=(1, 2)), "each be 2 or more"),
        (dict(learning_rate=0.0), "learning_rate must be above 0"),
    ],
)
def test_flags_out_of_range_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        GroupSize(**flags)
