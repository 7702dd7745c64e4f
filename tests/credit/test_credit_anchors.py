"""GiGPO against its defining sum, and the cases where it is a simpler credit."""

from dataclasses import replace

import numpy as np
import pytest

from agentic_rl.credit.anchors import Gigpo
from agentic_rl.credit.group import Centred, GroupRelative
from tests.batches import (
    G,
    N,
    T,
    close,
    episodes,
    full,
    gains,
    returns,
    settings,
    terminal,
    trajectory,
)
from tests.credits import assert_credit, assert_equal_credits, compute_credit, other_attempts, to_go


def compared(x, among, scale):
    """Returns `x` minus the mean of `among`, to which it belongs; 0 if it is alone."""
    if len(among) == 1:
        return 0.0
    return (x - np.mean(among)) / (np.std(among, ddof=1) + 1e-6 if scale == "mean_std" else 1.0)


@pytest.mark.parametrize(
    "credit",
    [replace(c, omega=0.7) for c in settings(Gigpo)],
    ids=lambda c: f"{c.scale}-{c.baseline}",
)
def test_gigpo_is_episode_credit_plus_omega_times_step_credit(credit):
    batch, total = trajectory(), returns(trajectory())
    turns = {(i, t): None for i, places in episodes(batch) for t, _ in places}
    for i, places in episodes(batch):
        after = to_go([(t, 0) for t, _ in places], gains(batch, i, places), credit.discount)
        turns |= {(i, t): after[k] for k, (t, a) in enumerate(places) if a == 0}

    def expected(i, places, gain):
        peers = [
            j
            for j in [i, *other_attempts(i)]
            for t in range(T)
            if credit.baseline == "turns" or t == 0
            if (j, t) in turns
        ]
        episode = compared(total[i], [total[j] for j in peers], credit.scale)
        alike = {
            t: [
                x
                for (j, u), x in turns.items()
                if j[0] == i[0] and batch.anchor[j][u] == batch.anchor[i][t]
            ]
            for t, _ in places
        }
        return [episode + 0.7 * compared(turns[i, t], alike[t], credit.scale) for t, _ in places]

    assert_credit(credit, batch, expected)


def anchored(batch):
    """Returns the batch with all attempts beginning in one state, and no other state seen twice."""
    turn, attempt = np.arange(T), np.arange(G)[:, None]
    return batch._replace(
        anchor=np.broadcast_to(np.where(turn == 0, 0, 1 + attempt * T + turn), batch.anchor.shape)
    )


def test_gigpo_where_only_the_start_recurs_is_centred_elsewhere():
    batch = anchored(trajectory())
    result, centred = (
        compute_credit(Gigpo(omega=0.6, discount=1.0), batch),
        compute_credit(Centred(), batch),
    )
    close(result[:, :, 0], 1.6 * centred[:, :, 0])
    close(result[:, :, 1:], centred[:, :, 1:])


def test_gigpo_without_step_credit_is_centred_or_group_relative():
    assert_equal_credits(Gigpo(omega=0.0), Centred())
    assert_equal_credits(Gigpo(omega=0.0, scale="mean_std"), GroupRelative(eps=1e-6), rtol=1e-3)


def test_a_state_that_is_visited_once_gets_no_step_credit():
    batch = trajectory()
    apart = batch._replace(anchor=np.arange(batch.anchor.size).reshape(batch.anchor.shape))
    assert_equal_credits(Gigpo(omega=5.0), Centred(), apart)


def test_gigpo_s_baseline_over_turns_counts_an_episode_once_per_turn():
    """With a failure of one turn and a success of three, half of the episodes are successes, but
    three of four turns are.
    """
    batch = full(trajectory(attempts=2))
    batch.mask[:, 0, 1:] = False
    batch = terminal(batch._replace(success=np.array([[False, True]] * N)))
    result = {
        baseline: compute_credit(Gigpo(omega=0.0, baseline=baseline), batch)[:, :, 0, 0]
        for baseline in ("episodes", "turns")
    }
    close(result["episodes"], [[-0.5, 0.5]] * N)
    close(result["turns"], [[-0.75, 0.25]] * N)
