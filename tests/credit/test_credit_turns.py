"""Advantages over turns, and over both levels, against their defining sums; and where they are plain GAE."""

import numpy as np
import pytest

from agentic_rl.credit.gae import GAE
from agentic_rl.credit.turns import BiLevelGAE, TurnGAE
from tests.batches import A, trajectory
from tests.credits import RAW, agrees, compiled_values, same, td_sum, value_of


def turns_of(places):
    """The positions, in the list of places, of each turn's tokens."""
    return [
        [k for k, (t, _) in enumerate(places) if t == turn] for turn in range(places[-1][0] + 1)
    ]


@pytest.mark.parametrize("lambda_", [0.0, 0.6, 1.0])
def test_turn_gae_is_the_sum_of_discounted_td_errors_over_turns_from_the_value_of_their_first_token(
    lambda_,
):
    value = value_of(trajectory(), discount=0.9)

    def expected(i, places, gain):
        turns = turns_of(places)
        first = [value.before[i][places[turn[0]]] for turn in turns]
        advantage = td_sum([sum(gain[k] for k in turn) for turn in turns], first, 0.8, lambda_)
        return [advantage[t] for t, _ in places]

    agrees(TurnGAE(lambda_=lambda_, discount=0.8, **RAW), trajectory(), expected, value)


@pytest.mark.parametrize("lambda_", [0.0, 0.6, 1.0])
def test_bi_level_gae_takes_each_turn_to_the_lambda_return_that_gae_over_the_ends_of_turns_gives_it(
    lambda_,
):
    value = value_of(trajectory(), discount=0.9)

    def expected(i, places, gain):
        turns, before = turns_of(places), [value.before[i][p] for p in places]
        inner = [sum(gain[k] for k in turn[:-1]) for turn in turns] + [0.0]
        at_ends = [before[turn[-1]] for turn in turns]
        of_ends = td_sum(
            [gain[turn[-1]] + 0.8 * later for turn, later in zip(turns, inner[1:])],
            at_ends,
            0.8,
            lambda_,
        )
        credit = []
        for turn, advantage, v in zip(turns, of_ends, at_ends):
            credit += td_sum(
                [*(gain[k] for k in turn[:-1]), advantage + v],
                [before[k] for k in turn],
                0.9,
                lambda_,
            )
        return credit

    agrees(BiLevelGAE(lambda_=lambda_, turn_discount=0.8, **RAW), trajectory(), expected, value)


def test_without_discount_bi_level_gae_with_lambda_1_is_gae_with_lambda_1():
    same(BiLevelGAE(lambda_=1.0, turn_discount=1.0, **RAW), GAE(lambda_=1.0, **RAW))


def one_token_turns(made):
    """The same, and every turn has one token."""
    return made._replace(
        mask=made.mask & (np.arange(A) == 0), penalty=made.penalty * (np.arange(A) == 0)
    )


@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("whitened", [False, True])
def test_where_turns_have_one_token_gae_over_turns_and_over_both_levels_is_gae(lambda_, whitened):
    made = one_token_turns(trajectory())
    value, ways = value_of(made, discount=0.9), dict(lambda_=lambda_, whiten=whitened)
    same(TurnGAE(discount=0.9, **ways), GAE(**ways), made, value)
    same(BiLevelGAE(turn_discount=0.9, **ways), GAE(**ways), made, value)


def test_turn_gae_with_lambda_0_is_what_a_turn_earned_and_how_much_it_changed_the_value():
    """Of values that change between turns only, as forks give them: VinePPO's step advantage."""
    made = trajectory()
    value = np.random.default_rng(2).normal(size=made.anchor.shape)
    before = np.where(made.mask, value[..., None], 0.0).astype(np.float32)

    def expected(i, places, gain):
        turns = turns_of(places)
        after = [*value[i][1 : len(turns)], 0.0]
        step = [
            sum(gain[k] for k in turn) + v_next - v
            for turn, v, v_next in zip(turns, value[i], after)
        ]
        return [step[t] for t, _ in places]

    agrees(TurnGAE(lambda_=0.0, **RAW), made, expected, compiled_values()(before, made, 1.0))
