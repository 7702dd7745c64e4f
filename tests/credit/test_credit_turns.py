"""Turn and bi-level GAE against their defining sums, and the cases where they are plain GAE."""

import numpy as np
import pytest

from agentic_rl.credit.gae import GAE
from agentic_rl.credit.turns import BiLevelGAE, TurnGAE
from tests.batches import A, trajectory
from tests.credits import (
    RAW,
    assert_credit,
    assert_equal_credits,
    compiled_values,
    random_values,
    td_sum,
)


def turns_of(places):
    """Returns the positions of each turn's tokens in the list of places."""
    return [
        [k for k, (t, _) in enumerate(places) if t == turn] for turn in range(places[-1][0] + 1)
    ]


@pytest.mark.parametrize("lambda_", [0.0, 0.6, 1.0])
def test_turn_gae_is_the_discounted_sum_of_the_turns_td_errors(lambda_):
    value = random_values(trajectory(), discount=0.9)

    def expected(i, places, gain):
        turns = turns_of(places)
        first = [value.before[i][places[turn[0]]] for turn in turns]
        advantage = td_sum([sum(gain[k] for k in turn) for turn in turns], first, 0.8, lambda_)
        return [advantage[t] for t, _ in places]

    assert_credit(TurnGAE(lambda_=lambda_, discount=0.8, **RAW), trajectory(), expected, value)


@pytest.mark.parametrize("lambda_", [0.0, 0.6, 1.0])
def test_bi_level_gae_aims_each_turn_at_the_lambda_return_of_its_end(lambda_):
    value = random_values(trajectory(), discount=0.9)

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

    assert_credit(
        BiLevelGAE(lambda_=lambda_, turn_discount=0.8, **RAW), trajectory(), expected, value
    )


def test_without_discount_bi_level_gae_with_lambda_1_is_gae_with_lambda_1():
    assert_equal_credits(BiLevelGAE(lambda_=1.0, turn_discount=1.0, **RAW), GAE(lambda_=1.0, **RAW))


def one_token_turns(batch):
    """Returns the batch with one token in every turn."""
    return batch._replace(
        mask=batch.mask & (np.arange(A) == 0), penalty=batch.penalty * (np.arange(A) == 0)
    )


@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("whitened", [False, True])
def test_where_turns_have_one_token_turn_and_bi_level_gae_are_gae(lambda_, whitened):
    batch = one_token_turns(trajectory())
    value, ways = random_values(batch, discount=0.9), dict(lambda_=lambda_, whiten=whitened)
    assert_equal_credits(TurnGAE(discount=0.9, **ways), GAE(**ways), batch, value)
    assert_equal_credits(BiLevelGAE(turn_discount=0.9, **ways), GAE(**ways), batch, value)


def test_turn_gae_with_lambda_0_is_the_turn_s_td_error():
    """For values that change between turns only, as forks give them, it is VinePPO's advantage."""
    batch = trajectory()
    value = np.random.default_rng(2).normal(size=batch.anchor.shape)
    before = np.where(batch.mask, value[..., None], 0.0).astype(np.float32)

    def expected(i, places, gain):
        turns = turns_of(places)
        after = [*value[i][1 : len(turns)], 0.0]
        step = [
            sum(gain[k] for k in turn) + v_next - v
            for turn, v, v_next in zip(turns, value[i], after)
        ]
        return [step[t] for t, _ in places]

    assert_credit(
        TurnGAE(lambda_=0.0, **RAW), batch, expected, compiled_values()(before, batch, 1.0)
    )
