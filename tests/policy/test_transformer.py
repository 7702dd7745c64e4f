"""The network: two ways through the same weights agree, and nothing is seen that must not be."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.config import ConfigError
from agentic_rl.policy import layout, transformer, view
from agentic_rl.policy.attention import rotate
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout import actors
from agentic_rl.rollout.rollout import rollout
from tests.toys import TINY, Walk, compiled, weights

TASKS = {
    "one-token prompt and action": Walk(action_length=1, prompt_length=1),
    "long ones": Walk(prompt_length=3),
}
every_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
every_context = pytest.mark.parametrize("context", ["history", "markov"])


@cache
def sequences(task, num_problems=6):
    """Returns ragged episodes as (token, valid, mask) over B, and the same with branches.

    A random actor ends many actions early.
    """
    episodes = compiled(
        lambda: rollout(task, actors.Random(), jax.random.key(1), jnp.arange(num_problems), 2)
    )()
    flat = [
        x.reshape((-1,) + x.shape[2:])
        for branched in (False, True)
        for x in layout.tokens(episodes, branched)
    ]
    masks = [x.reshape((-1,) + x.shape[2:]) for x in (episodes.mask, episodes.label_mask)]
    return (*flat[:2], masks[0]), (*flat[2:], masks[1])


@cache
def forward(policy_config, spec, branched=False):
    return compiled(
        lambda params, token, valid: transformer.apply(
            policy_config, params, spec, token, valid, branched
        )
    )


def poison(token, valid, seed=0):
    """Returns the tokens with garbage where they are not valid."""
    return jnp.where(
        valid, token, jax.random.randint(jax.random.key(seed), token.shape, 0, tokens.VOCABULARY)
    )


def read_step_by_step(policy_config, params, spec, token, valid):
    """Returns what `apply` computes, by `decode`.

    It reads the prompt, then per turn the token before and the observation, then token by token.
    """
    behind, observed, markov = (
        spec.prompt_length,
        spec.observation_length,
        policy_config.context == "markov",
    )
    decode = compiled(
        lambda memory, token, index: transformer.decode(policy_config, params, memory, token, index)
    )
    memory, result = transformer.empty_cache(policy_config, params, spec, len(token)), []
    if behind > 1:
        memory = decode(memory, token[:, : behind - 1], 0)[-1]
    for t in range(spec.num_turns):
        there = layout.start_of_turn(spec, t)
        place = behind if markov else there
        chunk = jnp.concatenate(
            [
                token[:, behind - 1 if markov else there - 1, None],
                token[:, there : there + observed],
            ],
            axis=1,
        )
        for a in range(spec.action_length):
            logits, value, memory = decode(
                memory, chunk, place - 1 if a == 0 else place + observed + a - 1
            )
            result.append((logits, value))
            chunk = token[:, there + observed + a, None]
        if not markov:
            action = slice(there + observed, there + observed + spec.action_length)
            memory = memory._replace(valid=memory.valid.at[:, action].set(valid[:, action]))
    shape = (len(token), spec.num_turns, spec.action_length)
    return tuple(jnp.stack(x, axis=1).reshape(shape + x[0].shape[1:]) for x in zip(*result))


@every_context
@every_task
def test_decoding_against_a_cache_equals_the_full_forward_pass(task, context):
    policy_config, (token, valid, mask) = replace(TINY, context=context), sequences(task)[0]
    full = forward(policy_config, task.spec)(weights(policy_config), token, valid)
    step_by_step = read_step_by_step(
        policy_config, weights(policy_config), task.spec, poison(token, valid), valid
    )
    for expected, result in zip(full, step_by_step):
        np.testing.assert_allclose(result[mask], expected[mask], rtol=1e-5, atol=1e-5)
    assert 0.1 < mask.mean() < 1 and full[0][mask].std() > 0.1 and full[1][mask].std() > 0.1


@pytest.mark.parametrize("branched", [False, True])
@every_context
def test_the_content_of_padding_changes_nothing(context, branched):
    task, policy_config = Walk(prompt_length=3), replace(TINY, context=context)
    token, valid, mask = sequences(task)[branched]
    run = forward(policy_config, task.spec, branched)
    clean, poisoned = (run(weights(policy_config), x, valid) for x in (token, poison(token, valid)))
    for x, y in zip(clean, poisoned):
        np.testing.assert_array_equal(x[mask], y[mask])
        assert branched or not np.array_equal(x, y)


@pytest.mark.parametrize("branched", [False, True])
@every_context
def test_logits_and_values_depend_on_exactly_the_tokens_they_may_see(context, branched):
    """Causality is tested by gradients.

    Position l reads row l of an untied embedding, so that row's gradient is its influence.
    """
    task, policy_config = Walk(num_turns=3), replace(TINY, context=context, tied=False)
    spec, params = task.spec, weights(policy_config)
    sees = layout.attention_mask(spec, context, branched)
    length = len(sees)
    predictor = layout.predictors(spec, np.arange(length)[None], branched).reshape(3, -1)
    # one token of turn 1 is padding
    padding = spec.prompt_length + layout.turn_length(spec, branched)
    valid = jnp.ones((1, length), bool).at[0, padding + spec.observation_length + 1].set(False)
    project = [
        jax.random.normal(jax.random.key(i), shape)
        for i, shape in enumerate([(tokens.VOCABULARY,), ()])
    ]

    def summary(table):
        outputs = transformer.apply(
            policy_config,
            params | {"embedding": {"embedding": table}},
            spec,
            jnp.arange(length)[None],
            valid,
            branched,
        )
        return jnp.stack([outputs[0][0] @ project[0], outputs[1][0] * project[1]])

    influence = jnp.abs(compiled(jax.jacrev(summary))(params["embedding"]["embedding"])).sum(-1)
    allowed = sees[predictor] & (
        valid[0] | np.eye(length, dtype=bool)[predictor]
    )  # a token knows itself, even as padding
    assert (influence[..., :length] == 0)[:, ~allowed].all()
    assert (influence[..., :length] > 0)[:, allowed].all()


@pytest.mark.parametrize("branched", [False, True])
@every_task
def test_in_markov_context_some_turns_at_a_time_give_what_all_turns_at_once_give(
    task, branched, monkeypatch
):
    policy_config = replace(TINY, context="markov")
    token, valid, mask = sequences(task)[branched]

    def read(part_tokens):
        monkeypatch.setattr(view, "PART_TOKENS", part_tokens)

        def run(params):
            return transformer.apply(policy_config, params, task.spec, token, valid, branched)

        def number(params):
            return sum(jnp.sin(x[mask]).sum() for x in run(params))

        return compiled(lambda p: (run(p), jax.grad(number)(p)))(weights(policy_config))

    at_once, in_parts = (jax.tree.leaves(read(length)) for length in (10_000, 1))
    for x, y in zip(at_once, in_parts):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5 * np.abs(x).max())


def test_in_markov_context_a_turn_is_read_regardless_of_earlier_turns():
    task, policy_config = Walk(prompt_length=3), replace(TINY, context="markov")
    token, valid, _ = sequences(task)[0]

    def a_turn_later(x):
        prompt, turns = (
            x[:, : task.spec.prompt_length],
            x[:, task.spec.prompt_length :].reshape(len(x), task.num_turns, -1),
        )
        return jnp.concatenate([prompt, jnp.roll(turns, 1, axis=1).reshape(len(x), -1)], axis=1)

    rolled = a_turn_later(token), a_turn_later(valid)
    straight, late = (
        forward(policy_config, task.spec)(weights(policy_config), *x)
        for x in ((token, valid), rolled)
    )
    for x, y in zip(straight, late):
        np.testing.assert_allclose(jnp.roll(x, 1, axis=1), y, rtol=1e-5, atol=1e-5)


def test_in_history_context_the_turn_matters():
    task = Walk(prompt_length=3)
    token, valid, mask = sequences(task)[0]
    other = token.at[:, task.spec.prompt_length + 1].add(1)
    x, y = (forward(TINY, task.spec)(weights(), t, valid)[0] for t in (token, other))
    assert (jnp.abs(x - y).max(-1)[:, 1:][mask[:, 1:]] > 1e-4).mean() > 0.5


def test_attention_scores_depend_on_the_distance_between_positions_alone():
    q, k = (jax.random.normal(jax.random.key(i), (2, 2, 5, 8)) for i in range(2))

    def scores(shift):
        turned = [rotate(x, jnp.array([0, 1, 2, 7, 30]) + shift, 10_000) for x in (q, k)]
        return jnp.einsum("bhlk,bhsk->bhls", *turned)

    np.testing.assert_allclose(scores(0), scores(50), rtol=1e-4, atol=1e-4)
    unturned = jnp.einsum("bhlk,bhsk->bhls", q, k)
    assert jnp.abs(scores(0) - unturned).max() > 0.1
    np.testing.assert_allclose(
        *(jnp.diagonal(x, axis1=-2, axis2=-1) for x in (scores(0), unturned)), rtol=1e-4, atol=1e-5
    )


def test_float64_weights_compute_in_float64_from_end_to_end():
    """The two ways through the weights agree to many more digits than in float32."""
    task, narrow = TASKS["one-token prompt and action"], weights()
    token, valid, mask = sequences(task)[0]
    single = forward(TINY, task.spec)(narrow, token, valid)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: x.astype(jnp.float64), narrow)
        double = compiled(lambda p: transformer.apply(TINY, p, task.spec, token, valid))(wide)
        step_by_step = read_step_by_step(TINY, wide, task.spec, token, valid)
    for x, y, z in zip(single, double, step_by_step):
        assert y.dtype == z.dtype == jnp.float64
        np.testing.assert_allclose(x[mask], y[mask], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(y[mask], z[mask], rtol=1e-10, atol=1e-12)


def test_bfloat16_computes_nearly_the_same_and_gives_float32_logits():
    task = Walk(prompt_length=3)
    token, valid, mask = sequences(task)[0]
    single, half = (
        forward(policy_config, task.spec)(weights(), token, valid)
        for policy_config in (TINY, replace(TINY, dtype="bfloat16"))
    )
    for x, y in zip(single, half):
        assert y.dtype == jnp.float32
        assert 0 < jnp.abs(x - y)[mask].max() < 0.1 * jnp.abs(x)[mask].max()


def test_recomputing_in_the_backward_pass_gives_the_same_gradient():
    task, policy_config = Walk(prompt_length=3), replace(TINY, remat=True)
    token, valid, _ = sequences(task)[0]

    def slope(policy_config):
        return jax.grad(
            lambda p: jax.nn.log_softmax(
                transformer.apply(policy_config, p, task.spec, token, valid)[0]
            )[..., tokens.END].mean()
        )

    programs = [jax.make_jaxpr(slope(x))(weights()) for x in (TINY, policy_config)]
    assert ["remat" in str(p) or "checkpoint" in str(p) for p in programs] == [False, True]
    for x, y in zip(
        *(jax.tree.leaves(compiled(slope(x))(weights())) for x in (TINY, policy_config))
    ):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-7)


def test_a_tied_head_is_the_embedding_and_an_untied_one_is_not():
    task, untied = Walk(prompt_length=3), replace(TINY, tied=False)
    token, valid, mask = sequences(task)[0]
    params = weights(untied)
    assert (
        transformer.num_params(untied) - transformer.num_params(TINY)
        == TINY.width * tokens.VOCABULARY
    )
    shared = {name: x for name, x in params.items() if name != "head"}
    copied = params | {"head": {"kernel": params["embedding"]["embedding"].T}}
    own, tied, copy = (
        forward(policy_config, task.spec)(p, token, valid)[0]
        for policy_config, p in ((untied, params), (TINY, shared), (untied, copied))
    )
    np.testing.assert_allclose(tied, copy, rtol=1e-5, atol=1e-5)
    assert jnp.abs(own - tied)[mask].max() > 0.1


def test_the_default_policy_has_135553_weights():
    assert transformer.num_params(Policy()) == 135_553


def test_fresh_weights_are_nearly_indifferent_and_value_everything_at_zero():
    task = Walk(prompt_length=3)
    token, valid, mask = sequences(task)[0]
    logits, value = forward(TINY, task.spec)(
        transformer.init(TINY, jax.random.key(0)), token, valid
    )
    assert jnp.exp(jax.nn.log_softmax(logits))[mask].max() < 2 / tokens.VOCABULARY
    assert (value == 0).all()


def test_a_width_that_heads_cannot_share_is_refused_in_a_sentence():
    with pytest.raises(ConfigError, match=r"width \(18\) must be an even multiple of heads \(4\)"):
        Policy(width=18)
