"""Where every token of an episode stands: the prompt, then per turn an observation and an action.

    index:   0 .. P-1 | P .. P+O-1 | P+O .. P+O+A-1 | ...
    token:   prompt   | observation| action of turn 0 | turn 1 ...

The layout is static. An action token is predicted from the position before it.

The two contexts differ by an attention mask. In `history` context a token sees all that came
before it. In `markov` context it sees the prompt and its own turn, at positions that do not tell
the turn, so that a policy's value is a function of the task's state alone. Tokens whose mask is
False are seen by nobody.

The expert's labels are branches off the transcript: each label token is predicted from the turn's
observation and the label tokens before it, while later turns see the action that was taken. The
branch tokens stand after their turn's action, A-1 of them, because the last is never an input.
"""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped

from agentic_rl.config import check
from agentic_rl.types import Spec, Trajectory

Context = Literal["history", "markov"]
# Attention is dense: one layer's scores for 32 sequences of 4096 tokens and 4 heads take 8 GB.
LIMIT = 4096


def check_length(spec: Spec) -> None:
    """Checks that an episode has at most LIMIT tokens.

    Raises: ConfigError with the episode's length and what to shorten.
    """
    turns = f"{spec.num_turns} turn{'s' * (spec.num_turns > 1)}"
    check(
        spec.context_length <= LIMIT,
        f"An episode has {spec.context_length} tokens ({spec.prompt_length} of prompt and"
        f" {turns} of {turn_length(spec)}), more than the {LIMIT} that dense attention can"
        " handle; ask for fewer turns, a shorter prompt or a shorter horizon.",
    )


def start_of_turn(spec: Spec, turn):
    """Returns the index of the first observation token of `turn`."""
    return spec.prompt_length + turn * turn_length(spec)


def turn_length(spec: Spec, branched: bool = False) -> int:
    """Returns the number of tokens of a turn, with its label's branch if `branched`."""
    return spec.observation_length + spec.action_length + branched * (spec.action_length - 1)


def _turn_and_offset(spec: Spec, branched: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns each index's turn (-1: the prompt) and its place in the turn or prompt, both [L]."""
    block = turn_length(spec, branched)
    after = np.arange(spec.num_turns * block)
    turn = np.concatenate([np.full(spec.prompt_length, -1), after // block])
    return turn, np.concatenate([np.arange(spec.prompt_length), after % block])


def position(spec: Spec, context: Context, branched: bool = False) -> np.ndarray:
    """Returns each index's rotary position, [L].

    It is the token's index in the transcript or, in `markov` context, what that would be in the
    first turn. A label token has the position of the action token that it stands for.
    """
    turn, offset = _turn_and_offset(spec, branched)
    is_branch = (turn >= 0) & (offset >= turn_length(spec))
    offset = np.where(is_branch, offset - spec.action_length, offset)
    start = start_of_turn(spec, 0 if context == "markov" else turn)
    return np.where(turn < 0, offset, start + offset)


def attention_mask(spec: Spec, context: Context, branched: bool = False) -> np.ndarray:
    """Returns which token (a query) may attend to which (a key), as booleans [L, L].

    Whether the key's token is valid is not asked here.
    """
    turn, offset = _turn_and_offset(spec, branched)
    main = (turn < 0) | (offset < turn_length(spec))
    earlier = (turn[None] < turn[:, None]) & main[None]
    if context == "markov":
        earlier &= turn[None] < 0
    within = (turn[None] == turn[:, None]) & (offset[None] <= offset[:, None])
    # The prompt and the observations stand before the branches leave the transcript.
    shared = main[None] & ((offset[None] < spec.observation_length) | (turn[None] < 0))
    return earlier | within & (main[None] == main[:, None]) | within & shared


def in_parts(spec: Spec, x: Shaped[Array, "B L"], parts: int):
    """Returns, for each part of the turns, the prompt's elements and its own, [B, parts, S]."""
    prompt, turns = jnp.split(x, [spec.prompt_length], axis=1)
    prompt = jnp.broadcast_to(prompt[:, None], (len(x), parts, spec.prompt_length))
    return jnp.concatenate([prompt, turns.reshape(len(x), parts, -1)], axis=2)


def predictors(spec: Spec, x: Shaped[Array | np.ndarray, "B L *d"], branched: bool = False):
    """Returns what stands where each action token, or each label token, is predicted, [B, T·A, *d].

    These are slices, since on a CPU the derivative of a gather takes much longer.
    """
    turns = x[:, spec.prompt_length :]
    turns = turns.reshape((-1, spec.num_turns, turn_length(spec, branched)) + x.shape[2:])
    last = spec.observation_length - 1
    chosen = turns[:, :, last : last + spec.action_length]
    if branched:
        branch = turns[:, :, turn_length(spec) :]
        chosen = jnp.concatenate([turns[:, :, last : last + 1], branch], axis=2)
    return chosen.reshape((-1, spec.num_turns * spec.action_length) + x.shape[2:])


def tokens(
    trajectory: Trajectory, branched: bool = False
) -> tuple[Int[Array, "N G L"], Bool[Array, "N G L"]]:
    """Returns the episodes as token sequences, and which of their tokens are valid.

    `branched` puts the labels' branches into them.
    """
    prompt, observation = trajectory.prompt, trajectory.observation
    token, valid = (
        [observation, trajectory.action],
        [jnp.ones_like(observation, bool), trajectory.mask],
    )
    if branched:
        token.append(trajectory.label[..., :-1])
        valid.append(trajectory.label_mask[..., :-1])

    def sequence(prompt, parts):
        turns = jnp.concatenate(parts, axis=-1)
        return jnp.concatenate([prompt, turns.reshape(prompt.shape[:2] + (-1,))], axis=-1)

    return sequence(prompt, token), sequence(jnp.ones_like(prompt, bool), valid)
