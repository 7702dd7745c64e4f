"""What the tokens of a pass see of each other, and at which of them its outputs are needed."""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Int

from agentic_rl.policy import layout
from agentic_rl.policy.attention import attend, attend_in_parts
from agentic_rl.types import Spec

EVERY = Partial(lambda x: x)  # chooses all tokens
# In `markov` context attention is computed for some turns at a time. With more tokens most of the
# scores are of other turns and are thrown away; with fewer the matrix products are slow.
PART_TOKENS = 64


class View(NamedTuple):
    """The view of a pass over L new tokens.

    The last layer makes queries at the R chosen tokens only. The others just give it keys and
    values, which spares the larger part of that layer's work.
    """

    position: Int[Array, " L"] | np.ndarray
    attend: Partial  # (query, key, value) -> attention of all L tokens
    attend_last: Partial  # the same for the chosen tokens
    choose: Partial  # [B, L, ...] -> [B, R, ...]


def of_first_token() -> View:
    """Returns the view of a single token, which sees itself."""
    attention = Partial(attend, mask_BRS=jnp.ones((1, 1, 1), bool))
    return View(jnp.zeros(1), attention, attention, EVERY)


def of_next_tokens(
    valid: Bool[Array, "B S"], index: Int[Array, ""] | int, length: int, count: int
) -> View:
    """Returns the view of `length` tokens from `index` on: the valid ones up to each token itself.

    Outputs are needed at the last `count`.
    """

    def choose(x):
        return x[:, -count:]

    position = index + jnp.arange(length)
    mask = valid[:, None] & (jnp.arange(valid.shape[1]) <= position[:, None])
    every, last = (Partial(attend, mask_BRS=m) for m in (mask, choose(mask)))
    return View(position, every, last, Partial(choose))


def of_episodes(
    spec: Spec, context: layout.Context, valid: Bool[Array, "B L"], branched: bool
) -> View:
    """Returns the view of whole episodes, whose outputs are needed where an action is predicted."""
    choose = partial(layout.predictors, spec, branched=branched)
    turns = _turns_at_once(spec, branched) if context == "markov" else spec.num_turns
    part, parts = spec._replace(num_turns=turns), spec.num_turns // turns
    mask = layout.attention_mask(part, context, branched)[None]
    masks = mask, layout.predictors(part, mask, branched)
    if parts == 1:
        every, last = (Partial(attend, mask_BRS=m & valid[:, None]) for m in masks)
    else:
        in_parts = partial(attend_in_parts, spec.prompt_length, parts)
        seen = layout.in_parts(spec, valid, parts)[:, :, None]
        every, last = (Partial(in_parts, mask_BTQS=m[:, None] & seen) for m in masks)
    return View(layout.position(spec, context, branched), every, last, Partial(choose))


def _turns_at_once(spec: Spec, branched: bool) -> int:
    """Returns a divisor of the number of turns: the largest that has PART_TOKENS or less, or 1."""
    most = max(1, PART_TOKENS // layout.turn_length(spec, branched))
    return max(n for n in range(1, most + 1) if spec.num_turns % n == 0)
