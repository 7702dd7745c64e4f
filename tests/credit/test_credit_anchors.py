"""Credit that compares visits to one state, against its defining sum; and where it is a simpler one."""

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
from tests.credits import agrees, credited, others, same, to_go


def compared(x, among, scale):
    """`x` minus the mean of `among`, of which it is one; over their sample standard deviation, if asked; 0 if it is alone."""
    if len(among) == 1:
        return 0.0
    return (x - np.mean(among)) / (np.std(among, ddof=1) + 1e-6 if scale == "mean_std" else 1.0)


@pytest.mark.parametrize(
    "credit",
    [replace(c, omega=0.7) for c in settings(Gigpo)],
    ids=lambda c: f"{c.scale}-{c.baseline}",
)
def test_gigpo_is_episode_credit_and_omega_times_what_came_after_compared_with_the_same_state_s_other_visits(
    credit,
):
    made, total = trajectory(), returns(trajectory())
    turns = {(i, t): None for i, places in episodes(made) for t, _ in places}
    for i, places in episodes(made):
        after = to_go([(t, 0) for t, _ in places], gains(made, i, places), credit.discount)
        turns |= {(i, t): after[k] for k, (t, a) in enumerate(places) if a == 0}

    def expected(i, places, gain):
        peers = [
            j
            for j in [i, *others(i)]
            for t in range(T)
            if credit.baseline == "turns" or t == 0
            if (j, t) in turns
        ]
        episode = compared(total[i], [total[j] for j in peers], credit.scale)
        alike = {
            t: [
                x
                for (j, u), x in turns.items()
                if j[0] == i[0] and made.anchor[j][u] == made.anchor[i][t]
            ]
            for t, _ in places
        }
        return [episode + 0.7 * compared(turns[i, t], alike[t], credit.scale) for t, _ in places]

    agrees(credit, made, expected)


def anchored(made):
    """The same, and all attempts begin in one state; no other state is seen twice."""
    turn, attempt = np.arange(T), np.arange(G)[:, None]
    return made._replace(
        anchor=np.broadcast_to(np.where(turn == 0, 0, 1 + attempt * T + turn), made.anchor.shape)
    )


def test_gigpo_where_only_the_start_recurs_is_centred_and_at_the_start_one_and_omega_times_that():
    made = anchored(trajectory())
    found, centred = credited(Gigpo(omega=0.6, discount=1.0), made), credited(Centred(), made)
    close(found[:, :, 0], 1.6 * centred[:, :, 0])
    close(found[:, :, 1:], centred[:, :, 1:])


def test_gigpo_without_step_credit_is_centred_and_scaled_it_is_group_relative():
    same(Gigpo(omega=0.0), Centred())
    same(Gigpo(omega=0.0, scale="mean_std"), GroupRelative(eps=1e-6), rtol=1e-3)


def test_a_state_that_nobody_else_visits_gets_no_step_credit():
    made = trajectory()
    apart = made._replace(anchor=np.arange(made.anchor.size).reshape(made.anchor.shape))
    same(Gigpo(omega=5.0), Centred(), apart)


def test_gigpo_s_baseline_over_turns_counts_an_episode_once_per_turn():
    """A failure of one turn and a success of three: half of the episodes succeed, and three of four turns are of a success."""
    made = full(trajectory(attempts=2))
    made.mask[:, 0, 1:] = False
    made = terminal(made._replace(success=np.array([[False, True]] * N)))
    found = {
        baseline: credited(Gigpo(omega=0.0, baseline=baseline), made)[:, :, 0, 0]
        for baseline in ("episodes", "turns")
    }
    close(found["episodes"], [[-0.5, 0.5]] * N)
    close(found["turns"], [[-0.75, 0.25]] * N)
