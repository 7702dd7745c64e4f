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
branch tokens stand after the transcript, A-1 for each turn, because the last is never an input.
"""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from agentic_rl.config import check
from agentic_rl.types import Spec, Trajectory

Context = Literal["history", "markov"]
# Attention is dense: one layer's scores for 32 sequences of 4096 tokens and 4 heads take 8 GB.
LIMIT = 4096


def check_length(spec: Spec) -> None:
    """Checks that an episode has at most LIMIT tokens.

    Raises: ConfigError with the episode's length and what to shorten.
    """
    block = spec.observation_length + spec.action_length
    turns = f"{spec.num_turns} turn{'s' * (spec.num_turns > 1)}"
    check(
        spec.context_length <= LIMIT,
        f"An episode has {spec.context_length} tokens ({spec.prompt_length} of prompt and"
        f" {turns} of {block}), more than the {LIMIT} that dense attention can"
        " handle; ask for fewer turns, a shorter prompt or a shorter horizon.",
    )


def start_of_turn(spec: Spec, turn):
    """Returns the index of the first observation token of `turn`."""
    return spec.prompt_length + turn * (spec.observation_length + spec.action_length)


def _turn_and_offset(spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    """Returns each index's turn (-1: the prompt) and its place in the turn or prompt, both [L]."""
    block = spec.observation_length + spec.action_length
    behind = np.arange(spec.context_length) - spec.prompt_length
    turn = np.where(behind < 0, -1, behind // block)
    return turn, np.where(behind < 0, behind + spec.prompt_length, behind % block)


def _branch(spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    """Returns each branch token's turn and its place in that turn."""
    length = spec.action_length - 1
    turn, a = np.divmod(np.arange(spec.num_turns * length), max(length, 1))
    return turn, spec.observation_length + a


def position(spec: Spec, context: Context, branched: bool = False) -> np.ndarray:
    """Returns each index's rotary position, [L].

    It is the index itself or, in `markov` context, what the index would be in the first turn.
    """
    turn, offset = _turn_and_offset(spec)
    if branched:
        branch_turn, branch_offset = _branch(spec)
        turn = np.concatenate([turn, branch_turn])
        offset = np.concatenate([offset, branch_offset])
    start = start_of_turn(spec, 0 if context == "markov" else turn)
    return np.where(turn < 0, offset, start + offset)


def attention_mask(spec: Spec, context: Context, branched: bool = False) -> np.ndarray:
    """Returns which token (a query) may attend to which (a key), as booleans [L, L].

    Whether the key's token is valid is not asked here.
    """
    turn, offset = _turn_and_offset(spec)
    main = np.ones_like(turn, bool)
    if branched:
        branch_turn, branch_offset = _branch(spec)
        turn = np.concatenate([turn, branch_turn])
        offset = np.concatenate([offset, branch_offset])
        main = np.concatenate([main, np.zeros_like(branch_turn, bool)])
    earlier = (turn[None] < turn[:, None]) & main[None]
    if context == "markov":
        earlier &= turn[None] < 0
    within = (turn[None] == turn[:, None]) & (offset[None] <= offset[:, None])
    # The prompt and the observations stand before the branches leave the transcript.
    shared = main[None] & ((offset[None] < spec.observation_length) | (turn[None] < 0))
    return earlier | within & (main[None] == main[:, None]) | within & shared


def predictor_index(spec: Spec, branched: bool = False) -> np.ndarray:
    """Returns the index whose output predicts each action token, or each label token, [T, A]."""
    turn, a = np.meshgrid(np.arange(spec.num_turns), np.arange(spec.action_length), indexing="ij")
    before_action = start_of_turn(spec, turn) + spec.observation_length - 1
    if not branched:
        return before_action + a
    in_branch = spec.context_length + turn * (spec.action_length - 1) + a - 1
    return np.where(a == 0, before_action, in_branch)


def tokens(
    trajectory: Trajectory, branched: bool = False
) -> tuple[Int[Array, "N G L"], Bool[Array, "N G L"]]:
    """Returns the episodes as token sequences, and which of their tokens are valid.

    `branched` appends the labels' branches.
    """
    prompt, action = trajectory.prompt, trajectory.action
    turns = jnp.concatenate([trajectory.observation, action], axis=-1)
    valid = jnp.concatenate([jnp.ones_like(trajectory.observation, bool), trajectory.mask], axis=-1)
    flat = prompt.shape[:2] + (-1,)
    token = [prompt, turns.reshape(flat)]
    mask = [jnp.ones_like(prompt, bool), valid.reshape(flat)]
    if branched:
        token.append(trajectory.label[..., :-1].reshape(flat))
        mask.append(trajectory.label_mask[..., :-1].reshape(flat))
    return jnp.concatenate(token, axis=-1), jnp.concatenate(mask, axis=-1)
