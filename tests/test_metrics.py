"""The metrics of episodes against their definitions in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.metrics import episode_metrics
from tests.batches import episodes, trajectory


def by_hand(batch):
    """Returns every metric, computed episode by episode."""
    returns, turns, lengths, right, at_risk = np.zeros(batch.success.shape), {}, {}, 0, 0
    for i, places in episodes(batch):
        returns[i], turns[i], lengths[i] = (
            batch.reward[i].sum(),
            len({t for t, _ in places}),
            len(places),
        )
        for t in sorted({t for t, _ in places}):
            own, expert = (
                [(a, x[i][t, a]) for a in np.flatnonzero(m[i][t])]
                for x, m in ((batch.action, batch.mask), (batch.label, batch.label_mask))
            )
            at_risk, right = (
                at_risk + batch.is_key[i][t],
                right + (batch.is_key[i][t] and own == expert),
            )
            if batch.is_key[i][t] and own != expert:
                break
    won = [n for i, n in lengths.items() if batch.success[i]]
    lost = [n for i, n in lengths.items() if not batch.success[i]]
    return {
        "success": batch.success.mean(),
        "return": returns.mean(),
        "turns": np.mean(list(turns.values())),
        "per_turn_accuracy": right / at_risk,
        "zero_variance_groups": np.mean([np.ptp(group) == 0 for group in returns]),
        "length_right": np.mean(won),
        "length_wrong": np.mean(lost),
    }


@pytest.mark.parametrize("seed", range(3))
def test_the_metrics_of_episodes_are_what_their_names_say(seed):
    batch = trajectory(seed)
    batch.label[:] = np.where(
        np.random.default_rng(seed).random(batch.label.shape) < 0.7, batch.action, batch.label
    )
    batch.label_mask[:] = batch.mask
    batch.reward[1] = 0.25 * (
        np.arange(batch.reward.shape[-1]) == 0
    )  # a group in which all fare alike
    result, expected = episode_metrics(jax.tree.map(jnp.asarray, batch)), by_hand(batch)
    assert result.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(result[name], expected[name], rtol=1e-5, err_msg=name)
    assert 0 < expected["per_turn_accuracy"] < 1 and expected[
        "zero_variance_groups"
    ] == pytest.approx(1 / 3)
