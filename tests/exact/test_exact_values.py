"""The value source `exact`: its credit is the true advantage, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import algorithms, parallel, tokens
from agentic_rl.config import ConfigError
from agentic_rl.credit.gae import GAE
from agentic_rl.exact.state_graph import is_random
from agentic_rl.training import experience
from agentic_rl.values.exact import Exact
from tests.exact.cases import MARKOV, STROLL, solver, wide
from tests.toys import TINY, Walk, weights


@pytest.mark.usefixtures("in_float64")
def test_with_exact_values_and_lambda_0_credit_is_the_true_advantage():
    oracle = algorithms.swap(
        algorithms.GRPO,
        values=Exact(),
        credit=GAE(lambda_=0.0, whiten=False),
        problems=3,
        attempts=2,
        minibatches=1,
    )
    params, key = wide(STROLL, MARKOV), jax.random.key(0)

    def make_experience(params):
        weights = experience.Weights(params, params, None)
        trajectory, _ = experience.collect(STROLL, MARKOV, oracle, weights, key, jnp.arange(3), 3)
        return trajectory, experience.experience(
            STROLL, MARKOV, oracle, weights, key, jnp.int32(0), 3
        )

    with jax.enable_x64(False):
        trajectory, result = jax.device_get(
            parallel.launch(make_experience, parallel.choose(1), "pmap")(
                weights(MARKOV, seed=1, likely=(*STROLL.spec.choices[::2], tokens.END))
            )
        )
    value = solver("walk")(params, trajectory).value
    np.testing.assert_allclose(
        result.batch.credit.reshape(trajectory.mask.shape), value.after - value.before, atol=1e-5
    )
    assert (
        result.costs["env_steps"] == trajectory.mask.any(-1).sum()
        and result.costs["generated_tokens"] == trajectory.mask.sum()
    )


def test_it_is_refused_where_there_are_more_states_than_it_has_room_for():
    Exact(capacity=3).check(STROLL, MARKOV)
    with pytest.raises(
        ConfigError,
        match="^Walk comes to 3 states a turn or more, but .*capacity is 2: raise it, .*forks.$",
    ):
        Exact(capacity=2).check(STROLL, MARKOV)


def test_it_is_refused_for_several_tokens_in_the_context_of_the_history():
    with pytest.raises(
        ConfigError,
        match="^Walk has actions of 2 tokens: .* set --policy.context markov, .*forks.$",
    ):
        Exact().check(STROLL, TINY)


def test_it_is_refused_where_there_are_too_many_actions_to_list():
    with pytest.raises(
        ConfigError,
        match="^There are 131,071 actions of up to 16 tokens, and 100,000 at most can be .*forks.$",
    ):
        Exact().check(Walk(action_length=16), MARKOV)


def test_it_is_refused_where_a_random_task_lists_nothing(monkeypatch):
    assert not is_random(STROLL)
    monkeypatch.delattr(Walk, "outcomes")
    assert is_random(STROLL)
    with pytest.raises(
        ConfigError,
        match="^Walk is random and does not list its outcomes, .*: use --values forks.$",
    ):
        Exact().check(STROLL, MARKOV)
