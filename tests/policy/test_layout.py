"""The layout: where tokens stand and what they see, against rules for single tokens."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.config import ConfigError
from agentic_rl.policy import layout
from agentic_rl.rollout import actors
from agentic_rl.rollout.rollout import rollout
from agentic_rl.types import Spec
from tests.toys import Walk, compiled

SPECS = [Spec(1, 1, 1, 1, ()), Spec(1, 2, 1, 3, ()), Spec(3, 2, 3, 3, ()), Spec(2, 1, 2, 2, ())]
every_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda s: "P{}O{}A{}T{}".format(*s[:4]))


class Token(NamedTuple):
    kind: str  # prompt, observation, action or label
    turn: int
    place: int


def sequence(spec, branched=False):
    """Returns every token of an episode, in order."""
    tokens = [Token("prompt", -1, i) for i in range(spec.prompt_length)]
    for t in range(spec.num_turns):
        tokens += [Token("observation", t, i) for i in range(spec.observation_length)]
        tokens += [Token("action", t, i) for i in range(spec.action_length)]
        if branched:
            tokens += [Token("label", t, i) for i in range(spec.action_length - 1)]
    return tokens


def predictor_index(spec, branched=False):
    """Returns the index whose output predicts each action token, or each label token, [T, A]."""
    index = np.arange(len(sequence(spec, branched)))[None]
    return np.reshape(layout.predictors(spec, index, branched), (spec.num_turns, -1))


def may_see(query, key, context):
    """Returns whether a token may see another, by the rule in words.

    It sees the transcript of earlier turns (not in `markov` context) and, within its turn, what
    stands before it in its own branch.
    """
    if key.kind == "prompt":
        return query.kind != "prompt" or key.place <= query.place
    if query.kind == "prompt" or key.turn > query.turn:
        return False
    if key.turn < query.turn:
        return context == "history" and key.kind != "label"
    if key.kind == "observation":
        return query.kind != "observation" or key.place <= query.place
    return key.kind == query.kind and key.place <= query.place


@every_spec
@pytest.mark.parametrize("branched", [False, True])
@pytest.mark.parametrize("context", ["history", "markov"])
def test_a_token_sees_what_the_rule_says(spec, context, branched):
    everything = sequence(spec, branched)
    expected = [[may_see(query, key, context) for key in everything] for query in everything]
    np.testing.assert_array_equal(layout.attention_mask(spec, context, branched), expected)


@every_spec
def test_an_action_token_is_predicted_from_the_token_before_it(spec):
    everything = sequence(spec)
    for t, a in itertools.product(range(spec.num_turns), range(spec.action_length)):
        assert everything[predictor_index(spec)[t, a] + 1] == ("action", t, a)


@every_spec
def test_a_label_token_is_predicted_from_the_label_token_before_it(spec):
    everything = sequence(spec, branched=True)
    for t, a in itertools.product(range(spec.num_turns), range(spec.action_length)):
        before = ("label", t, a - 1) if a else ("observation", t, spec.observation_length - 1)
        assert everything[predictor_index(spec, branched=True)[t, a]] == before


@every_spec
def test_positions_count_the_story_that_a_token_sees(spec):
    history, markov = (
        layout.position(spec, context, branched=True) for context in ("history", "markov")
    )
    for i, token in enumerate(sequence(spec, branched=True)):
        seen = [
            layout.attention_mask(spec, context, branched=True)[i].sum() - 1
            for context in ("history", "markov")
        ]
        assert [history[i], markov[i]] == seen, token


@every_spec
def test_a_turn_starts_with_its_first_observation(spec):
    for t in range(spec.num_turns):
        assert sequence(spec)[layout.start_of_turn(spec, t)] == ("observation", t, 0)


def test_tokens_puts_every_field_in_its_place_and_marks_what_is_valid():
    task = Walk()
    episodes = jax.device_get(
        compiled(lambda: rollout(task, actors.Random(), jax.random.key(0), jnp.arange(4), 2))()
    )
    token, valid = layout.tokens(episodes, branched=True)
    ones = {
        "prompt": np.ones_like(episodes.prompt, bool),
        "observation": np.ones_like(episodes.observation, bool),
    }
    mask = ones | {"action": episodes.mask, "label": episodes.label_mask}
    for i, (kind, turn, place) in enumerate(sequence(task.spec, branched=True)):
        where = (slice(None), slice(None)) + ((place,) if kind == "prompt" else (turn, place))
        np.testing.assert_array_equal(token[..., i], getattr(episodes, kind)[where])
        np.testing.assert_array_equal(valid[..., i], mask[kind][where])
    main = [token.kind != "label" for token in sequence(task.spec, branched=True)]
    np.testing.assert_array_equal(layout.tokens(episodes)[0], token[..., main])
    assert not valid.all() and episodes.mask.any()


def test_the_length_of_an_episode_of_one_turn_is_told_in_the_singular():
    with pytest.raises(ConfigError, match=r"5003 tokens \(2 of prompt and 1 turn of 5001\)"):
        layout.check_length(Spec(2, 5000, 1, 1, (1,)))
