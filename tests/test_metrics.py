"""What is reported of episodes, each against its definition in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.metrics import episode_metrics
from tests.batches import episodes, trajectory


def by_hand(made):
    """Every metric, episode by episode."""
    returns, turns, lengths, right, at_risk = np.zeros(made.success.shape), {}, {}, 0, 0
    for i, places in episodes(made):
        returns[i], turns[i], lengths[i] = (
            made.reward[i].sum(),
            len({t for t, _ in places}),
            len(places),
        )
        for t in sorted({t for t, _ in places}):
            own, expert = (
                [(a, x[i][t, a]) for a in np.flatnonzero(m[i][t])]
                for x, m in ((made.action, made.mask), (made.label, made.label_mask))
            )
            at_risk, right = (
                at_risk + made.is_key[i][t],
                right + (made.is_key[i][t] and own == expert),
            )
            if made.is_key[i][t] and own != expert:
                break
    won = [n for i, n in lengths.items() if made.success[i]]
    lost = [n for i, n in lengths.items() if not made.success[i]]
    return {
        "success": made.success.mean(), "return": returns.mean(), "turns": np.mean(list(turns.values())),
        "per_turn_accuracy": right / at_risk, "zero_variance_groups": np.mean([np.ptp(group) == 0 for group in returns]),
        "length_right": np.mean(won), "length_wrong": np.mean(lost),
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_the_metrics_of_episodes_are_what_their_names_say(seed):
    made = trajectory(seed)
    made.label[:] = np.where(
        np.random.default_rng(seed).random(made.label.shape) < 0.7, made.action, made.label
    )
    made.label_mask[:] = made.mask
    made.reward[1] = 0.25 * (
        np.arange(made.reward.shape[-1]) == 0
    )  # a group in which all fare alike
    found, expected = episode_metrics(jax.tree.map(jnp.asarray, made)), by_hand(made)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)
    assert 0 < expected["per_turn_accuracy"] < 1 and expected[
        "zero_variance_groups"
    ] == pytest.approx(1 / 3)
