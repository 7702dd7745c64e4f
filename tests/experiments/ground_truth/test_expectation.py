"""Over all batches of a tiny task, expected updates are the gradients that docs/bias.md names.

The enumeration is first held against loops in plain numpy, then used. Every update goes through
the learner's own loss, in float64.
"""

import itertools
import math
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import credit, tokens
from agentic_rl.config import named
from agentic_rl.credit.gae import GAE, LengthAdaptiveGAE
from agentic_rl.credit.group import Centred, GroupRelative, LeaveOneOut
from agentic_rl.credit.process import ProcessAdvantage
from agentic_rl.credit.returns import EpisodeReturn, RewardToGo
from agentic_rl.credit.supervised import Imitation, SuccessOnly
from agentic_rl.credit.turns import BiLevelGAE, TurnGAE
from agentic_rl.envs.wait_chain import WaitChain
from agentic_rl.losses.kl import ReferenceKL, estimate
from agentic_rl.losses.loss_terms import token_weight
from agentic_rl.rewards import KlReward, Shaped
from agentic_rl.types import Spec, Trajectory, Value
from experiments.ground_truth import enumeration, expected_update, objectives
from experiments.ground_truth.enumeration import enumerate_task
from experiments.ground_truth.expected_update import (
    AGGREGATIONS,
    EnumeratedValues,
    expected_weights,
    update,
)
from experiments.ground_truth.objectives import BETA, gradients, group_weight, objective_values
from experiments.pages import bias_page
from experiments.pages.bias_cases import algorithm_with
from experiments.pages.bias_page import compare
from experiments.pages.closed_forms import drift
from experiments.reports import report
from experiments.reports.stats import select
from tests.toys import compiled

HERE = Path(__file__).parents[3]
EXACT = GroupRelative(eps=1e-12, ddof=0)  # so small an eps only makes 0 / 0 be 0
both_rewards = pytest.mark.parametrize("rewards", ["turns", "outcome"])


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def measured(algorithm, objective="J", rewards="turns"):
    """Returns how far the expected update is from the objective's gradient."""
    return compare(update(enumerate_task(rewards), algorithm), gradients(rewards)[objective])


def is_unbiased(*arguments, **keywords):
    return measured(*arguments, **keywords)["verdict"] == "unbiased"


# The enumeration itself


@both_rewards
def test_nothing_is_forgotten_and_nothing_counted_twice(rewards):
    here = enumerate_task(rewards)
    np.testing.assert_allclose(here.probability.sum(-1), 1, rtol=1e-12)
    written = {
        tuple(map(tuple, one))
        for one in enumeration.all_token_sequences(enumeration.ONE_OF_EACH, here.spec)
    }
    assert len(written) == here.probability.shape[1] == 7
    chances = expected_update.batches(here.probability, 3)[1]
    assert chances.sum() == pytest.approx(1, rel=1e-12) and len(chances) == math.comb(9, 3) ** 2


@cache
def narrow(alphabet):
    return enumerate_task("turns", Spec(2, 1, 1, 2, ()), alphabet)


def test_one_token_of_each_kind_stands_for_all_64():
    short, whole = narrow(enumeration.ONE_OF_EACH), narrow(tuple(range(tokens.VOCABULARY)))
    assert short.probability.shape == (2, 3) and whole.probability.shape == (2, 13 * 64 + 51)
    for params in (short.params, short.reference):
        found, every = objective_values(short, params), objective_values(whole, params)
        assert found.keys() == every.keys()
        np.testing.assert_allclose(
            [found[name] for name in every], list(every.values()), rtol=1e-10
        )
    stops = enumeration.STOPS[np.asarray(whole.trajectory.action[0, :, :, 0])]
    group = np.where(stops[:, 0], np.where(stops[:, 1], 0, 1), 2)  # as the three are written
    for name in ("log_prob", "collision", "reference_log_prob", "reward", "mask"):
        np.testing.assert_allclose(
            getattr(whole.trajectory, name), getattr(short.trajectory, name)[:, group], rtol=1e-10
        )


def test_the_gradient_of_the_expected_return_is_that_of_differences():
    here, random = enumerate_task("turns"), np.random.default_rng(0)
    direction = jax.tree.map(lambda x: random.normal(size=x.shape), here.params)

    def expected_return(step):
        params = jax.tree.map(lambda x, d: x + step * d, here.params, direction)
        log_prob, total = (
            np.asarray(enumeration.predict(here.spec, params, here.trajectory)[0]),
            0.0,
        )
        for n, e in np.ndindex(here.probability.shape):
            chance = float(here.multiplicity[e])
            for t, a in np.ndindex(2, 2):
                chance *= (
                    math.exp(log_prob[n, e, t, a]) if here.trajectory.mask[n, e, t, a] else 1.0
                )
            total += chance * float(sum(here.trajectory.reward[n, e])) / 2
        return total

    slope = (expected_return(1e-4) - expected_return(-1e-4)) / 2e-4
    assert gradients("turns")["J"] @ objectives.flatten(direction) == pytest.approx(slope, rel=1e-5)


def share(lengths, i, how):
    """Returns a token's weight in the loss of episodes with these lengths, 4 at most."""
    return {
        "token_mean": 1 / sum(lengths),
        "sequence_mean": 1 / len(lengths) / lengths[i],
        "constant": 1 / len(lengths) / 4,
    }[how]


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_expected_weights_are_sums_over_all_ordered_batches(how):
    here = enumerate_task("turns")
    total, length = (
        np.asarray(here.trajectory.reward.sum(-1)),
        np.asarray(here.trajectory.mask.sum((2, 3))),
    )
    weight, product = np.zeros((2, 2, 7))
    for batch in itertools.product(range(7), repeat=4):
        who = [(0, batch[0]), (0, batch[1]), (1, batch[2]), (1, batch[3])]
        chance, lengths = math.prod(here.probability[w] for w in who), [length[w] for w in who]
        for i, w in enumerate(who):
            weight[w] += chance * share(lengths, i, how)
            product[w] += chance * share(lengths, i, how) * (total[w] - total[who[i ^ 1]])
    algorithm = algorithm_with(LeaveOneOut(), aggregation=how)
    found = expected_weights(
        here, algorithm, here.trajectory, algorithm.values(here, here.trajectory)[0]
    )
    for x, y in zip(found, (weight, product)):
        np.testing.assert_allclose(
            x, np.where(here.trajectory.mask, y[..., None, None], 0.0), rtol=1e-12, atol=1e-14
        )


def test_with_many_attempts_problems_alone_give_the_same_update():
    here, algorithm = enumerate_task("outcome"), algorithm_with(GroupRelative(), 3)
    value = algorithm.values(here, here.trajectory)[0]
    together = expected_weights(here, algorithm, here.trajectory, value)
    for n in range(2):
        some = jax.tree.map(lambda x: x[n : n + 1] if jnp.ndim(x) else x, (here.trajectory, value))
        alone = expected_update.expectation(
            algorithm, *some, *expected_update.batches(here.probability[n : n + 1], 3)
        )["constant"]
        for x, y in zip(alone, together):
            np.testing.assert_allclose(x / 2, y[n : n + 1], rtol=1e-12, atol=1e-14)


@both_rewards
def test_the_exact_value_is_the_mean_to_go_over_episodes_with_the_same_past(
    rewards,
):
    here = enumerate_task(rewards)
    value, _ = EnumeratedValues()(here, here.trajectory)
    wrong, _ = EnumeratedValues(mistake=2.0)(here, here.trajectory)
    action, reward = np.asarray(here.trajectory.action), np.asarray(here.trajectory.reward)
    mistakes = set()
    for n, e, t, a in zip(*np.nonzero(np.asarray(here.trajectory.mask))):
        same = [
            f
            for f in range(7)
            if (action[n, f].ravel()[: 2 * t + a] == action[n, e].ravel()[: 2 * t + a]).all()
        ]
        chance = here.probability[n, same]
        assert value.before[n, e, t, a] == pytest.approx(
            (chance * reward[n, same, t:].sum(-1)).sum() / chance.sum()
        )
        mistakes.add(
            (
                n,
                tuple(same),
                2 * t + a,
                round(float(wrong.before[n, e, t, a] - value.before[n, e, t, a]), 9),
            )
        )
    assert len(mistakes) == len({m[-1] for m in mistakes}) == 12  # six states at each problem


def test_a_comparison_tells_a_factor_from_a_bias_and_from_nothing():
    truth = np.array([3.0, 4.0])
    assert compare(truth * (1 + 1e-9), truth)["verdict"] == "unbiased"
    assert compare(0.75 * truth, truth) == dict(
        error=0.25, direction=0.0, cosine=1.0, verdict="a factor of 0.75"
    )
    assert compare(-truth, truth) == dict(error=2.0, direction=0.0, cosine=-1.0, verdict="biased")
    assert compare(np.array([3.0, 0.0]), truth) == dict(
        error=0.8, direction=0.8, cosine=0.6, verdict="biased"
    )
    assert compare(truth * (1 + 1e-7), truth)["verdict"].startswith("a factor of 1")
    assert compare(1e-9 * truth, truth)["verdict"] == "nothing"


# Which estimators are unbiased


@both_rewards
@pytest.mark.parametrize(
    "one", [RewardToGo(), EpisodeReturn(), LeaveOneOut()], ids=bias_page.describe
)
def test_reinforce_and_rloo_are_unbiased(one, rewards):
    assert is_unbiased(algorithm_with(one), rewards=rewards)


def test_leave_one_out_is_unbiased_with_three_attempts_too():
    assert is_unbiased(algorithm_with(LeaveOneOut(), 3))


def test_a_constant_credit_expects_nothing():
    assert measured(algorithm_with(Imitation(), 1))["verdict"] == "nothing"


def test_a_discount_is_a_bias_even_towards_the_discounted_return():
    assert all(
        measured(algorithm_with(RewardToGo(discount=0.95), 1), name)["direction"] > 0.01
        for name in ("J", "J, discounted")
    )
    assert measured(algorithm_with(RewardToGo(discount=0.5), 1))["direction"] > 0.02


def test_success_only_is_unbiased_for_success_whatever_else_is_rewarded():
    assert is_unbiased(algorithm_with(SuccessOnly(), 1), "P(success)") and is_unbiased(
        algorithm_with(SuccessOnly(), 1), rewards="outcome"
    )
    assert measured(algorithm_with(SuccessOnly(), 1))["direction"] > 0.9


def test_centring_with_oneself_included_only_shrinks_the_gradient():
    assert (
        measured(algorithm_with(Centred(), 4), rewards="outcome")["verdict"] == "a factor of 0.75"
    )


@pytest.mark.parametrize("attempts", [2, 3, 4, 8])
def test_group_relative_s_bias_is_the_factor_of_the_closed_form(attempts):
    here, found = (
        enumerate_task("outcome"),
        measured(algorithm_with(GroupRelative(), attempts), rewards="outcome"),
    )
    solved = (here.probability * np.asarray(here.trajectory.success)).sum(-1)
    assert solved[0] < 0.1 < 0.3 < solved[1] < 0.7
    assert is_unbiased(
        algorithm_with(GroupRelative(), attempts), f"Σ c(p) ∇p, G = {attempts}", "outcome"
    )
    factor = [group_weight(attempts, p) for p in solved]
    if attempts < 4:
        assert found["direction"] == 0  # all informative groups are alike
    else:
        assert found["direction"] > 0.02 and factor[0] > {4: 1.03, 8: 1.2}[attempts] * factor[1]


def test_group_relative_is_biased_by_more_than_a_scale():
    for one in (GroupRelative(), GroupRelative(ddof=0)):
        assert measured(algorithm_with(one, 8), rewards="outcome")["direction"] > 0.1


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 1.0])
def test_gae_with_the_exact_value_is_unbiased_at_any_lambda(lambda_):
    assert is_unbiased(algorithm_with(GAE(lambda_=lambda_, whiten=False), 1)) and is_unbiased(
        algorithm_with(TurnGAE(lambda_=lambda_, whiten=False), 1)
    )


def test_gae_with_a_wrong_critic_is_biased_unless_lambda_is_1():
    error = [
        measured(algorithm_with(GAE(lambda_=x, whiten=False), 1, mistake=0.5))["error"]
        for x in (0.0, 0.5, 0.9, 1.0)
    ]
    assert error[0] > error[1] > error[2] > 0.01 and error[3] == 0


def test_a_lambda_or_value_that_depends_on_the_future_is_a_bias():
    for one in (
        LengthAdaptiveGAE(alpha=0.5, whiten=False),
        BiLevelGAE(turn_discount=1.0, whiten=False),
    ):
        assert measured(algorithm_with(one, 1))["direction"] > 0.01
    assert is_unbiased(
        algorithm_with(BiLevelGAE(lambda_=1.0, turn_discount=1.0, whiten=False), 1, mistake=0.5)
    )


@pytest.mark.parametrize("how", ["token_mean", "sequence_mean"])
def test_weighing_tokens_or_sequences_alike_is_a_bias(how):
    assert measured(algorithm_with(LeaveOneOut(), aggregation=how))["direction"] > 0.04


def test_shaping_is_unbiased_without_a_discount_only():
    for one in (RewardToGo(), LeaveOneOut()):
        assert is_unbiased(algorithm_with(one, reward=Shaped()))
        assert measured(algorithm_with(one, reward=Shaped(discount=0.95)))["direction"] > 0.01


def test_another_policys_advantage_in_the_credit_is_a_bias():
    here = enumerate_task("turns")
    value = EnumeratedValues()(here, here.trajectory)[0].before[..., 0]
    own = here._replace(trajectory=here.trajectory._replace(potential=value))
    assert (
        compare(update(own, algorithm_with(ProcessAdvantage(alpha=0.5))), gradients("turns")["J"])[
            "verdict"
        ]
        == "a factor of 1.5"
    )
    assert measured(algorithm_with(ProcessAdvantage(alpha=0.5)))["direction"] > 0.1


@pytest.mark.parametrize(
    "how, objective",
    [("k1", "J"), ("k2", "J − β KL, visits fixed"), ("k3", "J − β KL(ref‖π), visits fixed")],
)
def test_a_kl_in_the_loss_gives_the_gradient_of_its_estimator_only(how, objective):
    found = update(
        enumerate_task("turns"), algorithm_with(RewardToGo(), 1, kl=ReferenceKL(BETA, how))
    )
    names = ["J", *(name for name in gradients("turns") if "KL" in name)]
    errors = {name: compare(found, gradients("turns")[name])["error"] for name in names}
    assert errors.pop(objective) == 0 and min(errors.values()) > 0.02


def test_k1_and_k3_are_unbiased_as_values_and_k2_is_not():
    here = enumerate_task("turns")
    log_prob, reference = here.trajectory.log_prob, here.trajectory.reference_log_prob
    divergence = (here.probability * (log_prob - reference).sum((2, 3))).sum()
    found = {
        how: (here.probability * estimate(how, log_prob, reference).sum((2, 3))).sum()
        for how in ("k1", "k2", "k3")
    }
    assert found["k1"] == pytest.approx(divergence) and found["k3"] == pytest.approx(divergence)
    assert divergence > 0.1 and abs(found["k2"] / divergence - 1) > 0.05


def test_a_kl_in_the_reward_is_unbiased_as_k1_only():
    errors = [
        measured(algorithm_with(RewardToGo(), 1, reward=KlReward(BETA, how)), "J − β KL")["error"]
        for how in ("k1", "k2", "k3")
    ]
    assert errors[0] == 0 and min(errors[1:]) > 0.1


# Closed forms


@pytest.mark.parametrize(
    "attempts, ratio", [(2, 1.00), (3, 1.00), (4, 1.07), (8, 1.41), (16, 1.93), (64, 3.39)]
)
def test_problems_that_are_rarely_solved_weigh_more_than_even_ones(attempts, ratio):
    assert group_weight(attempts, 0.01) / group_weight(attempts, 0.5) == pytest.approx(
        ratio, abs=0.005
    )


def credited(credit, reward, mask):
    """Returns the credit of episodes of one token a turn, from rewards and mask [N, G, T]."""
    zeros = jnp.zeros((*mask.shape, 1))
    made = Trajectory(*[None] * len(Trajectory._fields))._replace(
        reward=jnp.asarray(reward), mask=jnp.asarray(mask)[..., None]
    )
    return np.asarray(
        compiled(credit)(made._replace(penalty=zeros), Value(zeros, zeros, jnp.float32(1)))
    ).reshape(mask.shape)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.5])
@pytest.mark.parametrize("attempts", [2, 4, 8])
@pytest.mark.parametrize("one", [EXACT, GroupRelative(eps=0.1)], ids=bias_page.describe)
def test_the_closed_form_is_group_relative_over_all_reward_vectors(attempts, p, one):
    """For 0/1 rewards E[credit · ∇ log π] = (E[credit | won] − E[credit | lost]) · ∇p."""
    won = np.array(list(itertools.product([0, 1], repeat=attempts)))
    found, chance = (
        credited(one, won[..., None] + 0.0, won[..., None] >= 0),
        p ** won.sum(1) * (1 - p) ** (attempts - won.sum(1)),
    )
    for who in (0, attempts - 1):
        means = [
            (chance * found[:, who, 0])[won[:, who] == outcome].sum() / q
            for outcome, q in ((1, p), (0, 1 - p))
        ]
        assert means[0] - means[1] == pytest.approx(
            group_weight(attempts, p, one.eps, one.ddof), rel=1e-8
        )


def test_the_closed_form_tends_to_the_slope_of_twice_the_arcsine():
    assert group_weight(512, 0.3) == pytest.approx(1 / math.sqrt(0.3 * 0.7), rel=0.01)
    assert group_weight(8, 1e-7) == pytest.approx(math.sqrt(7), rel=1e-4)


PUSH = {
    "sequence_mean": (0.029, 0.051, 0.056),
    "token_mean": (0.017, 0.008, 0.002),
    "constant": (0.0, 0.0, 0.0),
}


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_waiting_is_pushed_up_after_an_error_and_down_after_success(how):
    for attempts, push in zip((2, 8, 32), PUSH[how]):
        assert drift(how, attempts, 0.3, 0.5, 0, False) == pytest.approx(push, abs=0.0005)
        assert drift(how, attempts, 0.3, 0.5, 0, True) == pytest.approx(
            drift(how, attempts, 0.3, 0.5, 0, False) * -7 / 3, abs=1e-12
        )


TURNS = 20


@cache
def waits():
    """All episodes of wait_chain of up to `TURNS` turns: their trajectory, waits after the
    choice, whether they stopped, and success.
    """
    task, count = WaitChain(TURNS), np.tile(np.arange(TURNS), 2)
    state, first = task.reset(jax.random.key(0))
    other = tokens.LEFT + tokens.RIGHT - state.side
    later = np.where(np.arange(TURNS) <= count[:, None], tokens.WAIT, tokens.DONE)
    action = (
        jnp.asarray(later).at[:, 0].set(jnp.where(jnp.arange(2 * TURNS) < TURNS, state.side, other))
    )

    def play(actions):
        def step(carry, action):
            state, done = carry
            state, now = task.step(jax.random.key(0), state, action[None])
            return (state, done | now.done), (~done, jnp.where(done, 0.0, now.reward), now.success)

        return jax.lax.scan(step, (state, first.done), actions)[1]

    mask, reward, success = jax.tree.map(np.asarray, compiled(jax.vmap(play))(action))
    return mask, reward, count, count < TURNS - 1, success[:, -1]


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_the_push_is_the_sum_over_all_pairs_of_wait_chain_episodes(
    how,
):
    mask, reward, count, stopped, right = waits()
    p, q, pair = 0.3, 0.5, np.array(list(itertools.product(range(len(mask)), repeat=2)))
    chance = np.where(right, p, 1 - p) * q**count * np.where(stopped, 1 - q, 1.0)
    np.testing.assert_allclose([chance.sum(), (chance * reward.sum(-1)).sum()], [1, p])
    score = count - q * (count + stopped)  # Σ over the turns after the choice of (waited − q)
    weight = compiled(jax.vmap(lambda mask: token_weight([mask], how)[0]))(mask[pair][..., None])[
        :, :, 0, 0
    ]
    push = (
        chance[pair].prod(-1)[:, None]
        * 2
        * np.asarray(weight)
        * credited(Centred(), reward[pair], mask[pair])[..., 0]
        * score[pair]
    )
    for outcome, one in ((False, 1 - p), (True, p)):
        found = np.where(right[pair] == outcome, push, 0.0).sum() / 2 / one
        assert found == pytest.approx(
            drift(how, 2, p, q, 1, outcome), abs=2e-6
        )  # longer waits than TURNS: 2 ** -20


# The page


@cache
def records():
    return report.read_csv(HERE / "results" / "bias" / "bias.csv")


def verdicts(table, **values):
    return {r["credit"]: r["verdict"] for r in select(records(), table=table, **values)}


def test_the_committed_page_is_current():
    page = (HERE / "docs" / "bias.md").read_text(encoding="utf-8")
    assert page == bias_page.page(records()), (
        "Run `python -m experiments.pages.bias_page`, commit docs/bias.md and "
        "results/bias/bias.csv."
    )


def test_every_credit_is_in_the_table_with_every_aggregation():
    found = {
        (r["credit"], r["rewards"], r["aggregation"]) for r in select(records(), table="defaults")
    }
    assert found == set(
        itertools.product(
            [cls.__name__ for cls in named(credit).values()], ("turns", "outcome"), AGGREGATIONS
        )
    )


def test_the_page_s_list_of_unbiased_credits_is_the_table_s():
    for rewards, more in (("turns", set()), ("outcome", {"SuccessOnly"})):
        found = verdicts("defaults", rewards=rewards, aggregation="constant")
        assert {name for name, said in found.items() if said == "unbiased"} == more | {
            "EpisodeReturn",
            "RewardToGo",
            "LeaveOneOut",
            "LeaveOneOutToGo",
        }
    for how in ("token_mean", "sequence_mean"):
        assert set(verdicts("defaults", aggregation=how).values()) == {"biased"}


def test_what_the_page_says_gets_less_with_more_attempts_does():
    for name in (
        "LengthWeighted",
        "OptimalToken",
        "Gigpo(discount=1.0)",
        "Centred(whiten=True)",
        "RewardToGo(whiten=True)",
        "GAE",
    ):
        error = [r["direction"] for r in select(records(), table="attempts", credit=name)]
        assert len(error) >= 2 and error == sorted(error, reverse=True) and error[-1] > 0.03
    distance = [
        r["direction"] for r in select(records(), credit="GroupRelative", objective="2 arcsin √p")
    ]
    assert distance == sorted(distance, reverse=True) and distance[-1] < 0.15


@pytest.mark.slow
def test_the_committed_table_is_what_comes_out():
    found = [record for case in bias_page.cases() for record in bias_page.measure(case)]
    numbers = ("error", "direction", "cosine")
    for old, new in zip(records(), found, strict=True):
        assert {k: v for k, v in old.items() if k not in numbers} == {
            k: v for k, v in new.items() if k not in numbers
        }
        np.testing.assert_allclose(
            [old[k] for k in numbers], [new[k] for k in numbers], rtol=1e-5, atol=1e-8
        )
