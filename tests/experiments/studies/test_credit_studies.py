"""The five studies of credit: each rule gives each of the three verdicts, each command runs."""

import numpy as np
import pytest

from agentic_rl.config import ConfigError
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.values.exact import Exact
from experiments.ground_truth import cloned_policies, testbed
from experiments.harness import credit_study
from experiments.reports import sweep
from experiments.studies.critic_lambda import EXACT, FITTED, NOISY, SHRUNK, CriticLambda, Wrong
from experiments.studies.delayed_reward import DelayedReward
from experiments.studies.state_recurrence import StateRecurrence, coverage
from experiments.studies.success_crossover import SuccessCrossover
from experiments.studies.vine_budget import CRITIC, RLOO, VineBudget
from tests.experiments.ground_truth.beds import bed

STUDIES = (DelayedReward, SuccessCrossover, VineBudget, StateRecurrence, CriticLambda)
SEEDS = range(5)
THREE = [(1, "supported"), (-1, "falsified"), (0, "inconclusive")]


def noise(seed):
    """Returns a number that differs between seeds and sums to zero over them."""
    return 0.01 * (seed - 2)


def outcomes(study, records):
    return [v.outcome for v in study.verdicts(records)]


@pytest.mark.parametrize("sign, outcome", THREE)
def test_delayed_reward(sign, outcome):
    def record(seed, delay, name):
        doublings = np.log2(delay)
        trend = {"leave_one_out": -3 * sign, "oracle": {1: 0.0, -1: 5.0, 0: 1.0}[sign]}[name]
        learned = {"leave_one_out": 0.0, "oracle": 0.1 * sign}[name] * doublings
        wobble = noise(seed) * doublings
        return dict(
            seed=seed,
            delay=delay,
            estimator=name,
            key_snr=trend * doublings + wobble,
            learned=0.5 + learned + wobble * (name == "oracle"),
        )

    records = [
        record(s, d, n) for s in SEEDS for d in (2, 4, 8) for n in ("leave_one_out", "oracle")
    ]
    assert outcomes(DelayedReward(delays=(2, 4, 8)), records) == [outcome] * 3


def test_a_seed_without_a_signal_leaves_the_trend_open():
    each = [(s, d, name) for s in SEEDS for d in (2, 4) for name in ("leave_one_out", "oracle")]
    records = [
        dict(seed=s, delay=d, estimator=name, key_snr=-np.inf, learned=0.5) for s, d, name in each
    ]
    assert outcomes(DelayedReward(delays=(2, 4)), records)[:2] == ["inconclusive"] * 2


@pytest.mark.parametrize(
    "low, high, outcome",
    [
        (0.3, -0.3, "supported"),
        (-0.3, -0.3, "falsified"),
        (0.3, 0.3, "falsified"),
        (0.3, 0.0, "inconclusive"),
    ],
)
def test_success_crossover(low, high, outcome):
    gap, tasks = {0.05: low, 0.5: 0.0, 0.95: high}, ("chain_pit", "key_door")

    def record(task, seed, level, name):
        more = (gap[level] + noise(seed)) * (name == "oracle")
        return dict(task=task, seed=seed, level=level, estimator=name, expected_cosine=0.5 + more)

    records = [
        record(t, s, at, name)
        for t in tasks
        for s in SEEDS
        for at in gap
        for name in ("oracle", "success_only")
    ]
    assert outcomes(SuccessCrossover(), records) == [outcome] * 2


@pytest.mark.parametrize("sign, outcome", THREE)
def test_vine_budget(sign, outcome):
    ratio = {RLOO: 1.0, CRITIC: 1.0, "1 fork": 1 - 0.5 * sign, "4 forks": 1 + 0.5 * sign}

    def record(seed, name):
        values = dict(
            signal_to_noise=ratio[name],
            per_step=1 + 0.5 * sign * ("fork" in name),
            right_order=0.6 - 0.2 * sign,
        )
        return dict(task="key_door", seed=seed, estimator=name) | {
            k: v + noise(seed) * (name != RLOO) for k, v in values.items()
        }

    records = [record(s, n) for s in SEEDS for n in ratio]
    assert outcomes(VineBudget(tasks=("key_door",), counts=(1, 4)), records) == [outcome] * 4


@pytest.mark.parametrize("sign, outcome", THREE)
def test_state_recurrence(sign, outcome):
    share = {"state": 0.8, "seen at that turn": 0.6, "seen": 0.3, "history": 0.1}

    def record(seed, same, g):
        gain = (
            (sign or (-1) ** seed) * share[same] * (1 + noise(seed))
        )  # without a sign it differs from seed to seed
        if seed == 0 and same == "seen":  # so that not every seed's correlation is the same
            gain = 0.0
        return dict(
            task="hidden key_door",
            seed=seed,
            attempts=g,
            same=same,
            coverage=share[same],
            gain_over_centred=gain,
        )

    records = [record(s, same, g) for s in SEEDS for same in share for g in (2, 4)]
    assert (
        outcomes(StateRecurrence(tasks=("hidden key_door",), attempts=(2, 4)), records)
        == [outcome] * 2
    )


@pytest.mark.parametrize("sign, outcome", THREE)
def test_critic_lambda(sign, outcome):
    lambdas = (0.0, 0.5, 1.0)

    def record(seed, name, lambda_):
        slope = -0.1 * sign if name == EXACT else 0.1 * sign
        cosine = 0.5 + (slope + noise(seed) * (1 if name == EXACT else 3)) * lambda_
        after = {"success, fitted": 0.5 + 0.2 * sign + noise(seed), "success, not fitted": 0.5}
        return {
            "delay": 8,
            "seed": seed,
            "lambda": lambda_,
            "estimator": name,
            "expected_cosine": cosine,
        } | after

    records = [
        record(s, n, x) for s in SEEDS for n in (EXACT, SHRUNK, NOISY, FITTED) for x in lambdas
    ]
    assert outcomes(CriticLambda(delays=(8,), lambdas=lambdas), records) == [outcome] * 5


def test_by_seed_needs_one_record_for_each_seed():
    records = [dict(seed=s, x=s * 2, name="a") for s in (1, 0)]
    assert sweep.by_seed(records, "x", name="a").tolist() == [0, 2]
    with pytest.raises(ValueError, match="one record for each of seeds"):
        sweep.by_seed(records + records[:1], "x", name="a")


def test_histories_recur_less_often_than_observations():
    small_bed = bed(shape=(8, 2, 4))
    state, at, seen, history = (
        coverage(small_bed, same) for same in ("state", "seen at that turn", "seen", "history")
    )
    assert seen >= at >= state >= history > 0


def test_wrong_values_without_an_error_are_the_exact_ones():
    small_bed = bed()
    right, wrong = (testbed.values(small_bed, source)[0] for source in (Exact(), Wrong()))
    shrunk, noisy = (
        testbed.values(small_bed, source)[0] for source in (Wrong(shrink=0.5), Wrong(noise=0.2))
    )
    np.testing.assert_allclose(wrong.before, right.before, atol=1e-6)
    np.testing.assert_allclose(shrunk.before, 0.5 * right.before, atol=1e-6)
    error = (noisy.before - right.before)[small_bed.mask]
    assert 0.05 < error.std() < 0.4
    for state in np.unique(small_bed.state[small_bed.mask]):
        assert np.ptp(error[small_bed.state[small_bed.mask] == state]) < 1e-5


@pytest.mark.parametrize(
    "which, flags, words",
    [
        (DelayedReward, dict(delays=(2,)), "two delays"),
        (SuccessCrossover, dict(levels=(0.5,)), "two levels"),
        (SuccessCrossover, dict(tasks=("chain_pot",)), "did you mean chain_pit"),
        (VineBudget, dict(counts=(0,)), "1 or more"),
        (VineBudget, dict(level=1.0), "level must be above 0 and below 1"),
        (StateRecurrence, dict(attempts=(3,)), "two numbers or more"),
        (
            StateRecurrence,
            dict(tasks=("key_door", "key_door")),
            "tasks names something twice: key_door key_door",
        ),
        (StateRecurrence, dict(tasks=("key_dor",)), "did you mean key_door"),
        (CriticLambda, dict(lambdas=(0.5,)), "two lambdas or more"),
        (CriticLambda, dict(seeds=0), "seeds must be 1 or more"),
    ],
)
def test_flags_out_of_range_are_refused(which, flags, words):
    with pytest.raises(ConfigError, match=words):
        which(**flags)


def test_a_policy_that_is_not_near_its_level_is_refused():
    with pytest.raises(
        ConfigError, match="No clone of Toy came near a success of 0.5 .but 0.90. within"
    ):
        cloned_policies.check_near("Toy", {0.5: (0.9, 3, {}), 0.95: (0.94, 4, {})})
    with pytest.raises(ConfigError, match="One clone of Toy is the nearest to two"):
        cloned_policies.check_near("Toy", {0.5: (0.5, 3, {}), 0.52: (0.5, 3, {})})
    cloned_policies.check_near(
        "Toy", {0.05: (0.2, 0, {}), 0.5: (0.55, 4, {})}
    )  # the untrained policy may succeed more often than asked


@pytest.mark.slow
def test_clones_succeed_as_often_as_asked_also_with_a_critic():
    task = KeyDoor(delay=1)
    params_at = cloned_policies.clones(task, credit_study.POLICY_CONFIG, (0.3, 0.8), 0, 2)
    for level, params in params_at.items():
        bed = testbed.make(
            task,
            credit_study.POLICY_CONFIG,
            cloned_policies.fit_critic(task, credit_study.POLICY_CONFIG, params, 0, 2),
            (16, 2, 8),
            cloned_policies.bank_key(0),
        )
        assert credit_study.success(bed) == pytest.approx(level, abs=0.12)
    assert cloned_policies.measure_success(
        task, credit_study.POLICY_CONFIG, params_at[0.8], 0
    ) > cloned_policies.measure_success(task, credit_study.POLICY_CONFIG, params_at[0.3], 0)
