"""Where every token of an episode stands: the prompt, then per turn the observation and the action. All of it is static.

    index:   0 .. P-1 | P .. P+O-1 | P+O .. P+O+A-1 | ...
    token:   prompt   | observation| action of turn 0 | turn 1 ...

An action token is predicted from the position before it. Two contexts, one attention mask apart: `history` sees all that came
before; `markov` sees the prompt and the current turn, at positions that do not tell the turn, so that a policy's value is a
function of the task's state alone. Tokens whose mask is False are seen by nobody.

Labels are branches off the transcript: the expert's action of a turn is trained on its own prefix, while later turns see the
action taken. Branch tokens (A-1 a turn, the last is never an input) stand behind the transcript.
"""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from agentic_rl.config import check
from agentic_rl.types import Spec, Trajectory

Context = Literal["history", "markov"]
LIMIT = 4096  # tokens of an episode: attention is dense, so a layer's scores for 32 sequences of 4 heads already take 8 GB


def check_length(spec: Spec) -> None:
    """Nothing, if an episode is at most LIMIT tokens long.

    Raises: ConfigError with its length and what to shorten.
    """
    block = spec.observation_length + spec.action_length
    turns = f"{spec.num_turns} turn{'s' * (spec.num_turns > 1)}"
    shape = f"{spec.prompt_length} of prompt and {turns} of {block}"
    sentence = f"An episode of {spec.context_length} tokens ({shape}) is longer than the {LIMIT} that dense attention is good for"
    check(
        spec.context_length <= LIMIT,
        f"{sentence}; ask for fewer turns, a shorter prompt or a shorter horizon.",
    )


def start_of_turn(spec: Spec, turn):
    """The index of the first observation token of `turn`."""
    return spec.prompt_length + turn * (spec.observation_length + spec.action_length)


def _turn_and_offset(spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    """For each index its turn (-1: prompt) and its place within the turn (or prompt)."""
    block = spec.observation_length + spec.action_length
    behind = np.arange(spec.context_length) - spec.prompt_length
    turn = np.where(behind < 0, -1, behind // block)
    return turn, np.where(behind < 0, behind + spec.prompt_length, behind % block)


def _branch(spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    """The turn and the place within its turn of each branch token."""
    turn, a = np.divmod(
        np.arange(spec.num_turns * (spec.action_length - 1)), max(spec.action_length - 1, 1)
    )
    return turn, spec.observation_length + a


def position(spec: Spec, context: Context, branched: bool = False) -> np.ndarray:
    """The rotary position of each index, [L]: the index itself, or in `markov` context the place behind the prompt."""
    turn, offset = _turn_and_offset(spec)
    if branched:
        turn, offset = (
            np.concatenate([turn, _branch(spec)[0]]),
            np.concatenate([offset, _branch(spec)[1]]),
        )
    start = start_of_turn(spec, 0 if context == "markov" else turn)
    return np.where(turn < 0, offset, start + offset)


def attention_mask(spec: Spec, context: Context, branched: bool = False) -> np.ndarray:
    """[L, L] bool: may the token of the row (a query) attend to the token of the column (a key), were it valid?"""
    turn, offset = _turn_and_offset(spec)
    main = np.ones_like(turn, bool)
    if branched:
        more, place = _branch(spec)
        turn, offset = np.concatenate([turn, more]), np.concatenate([offset, place])
        main = np.concatenate([main, np.zeros_like(more, bool)])
    earlier = (turn[None] < turn[:, None]) & main[None]
    if context == "markov":
        earlier &= turn[None] < 0
    within = (turn[None] == turn[:, None]) & (offset[None] <= offset[:, None])
    shared = main[None] & (
        (offset[None] < spec.observation_length) | (turn[None] < 0)
    )  # before the branch leaves
    return earlier | within & (main[None] == main[:, None]) | within & shared


def predictor_index(spec: Spec, branched: bool = False) -> np.ndarray:
    """[T, A]: the index whose output predicts each action token (of the branch: each label token)."""
    turn, a = np.meshgrid(np.arange(spec.num_turns), np.arange(spec.action_length), indexing="ij")
    before_action = start_of_turn(spec, turn) + spec.observation_length - 1
    if not branched:
        return before_action + a
    return np.where(
        a == 0, before_action, spec.context_length + turn * (spec.action_length - 1) + a - 1
    )


def tokens(
    trajectory: Trajectory, branched: bool = False
) -> tuple[Int[Array, "N G L"], Bool[Array, "N G L"]]:
    """The episodes as token sequences, with True where a token is valid; `branched` appends the labels' branches."""
    prompt, action = trajectory.prompt, trajectory.action
    turns = jnp.concatenate([trajectory.observation, action], axis=-1)
    valid = jnp.concatenate([jnp.ones_like(trajectory.observation, bool), trajectory.mask], axis=-1)
    flat = prompt.shape[:2] + (-1,)
    token = [prompt, turns.reshape(flat)]
    mask = [jnp.ones_like(prompt, bool), valid.reshape(flat)]
    if branched:
        token.append(trajectory.label[..., :-1].reshape(prompt.shape[:2] + (-1,)))
        mask.append(trajectory.label_mask[..., :-1].reshape(prompt.shape[:2] + (-1,)))
    return jnp.concatenate(token, axis=-1), jnp.concatenate(mask, axis=-1)
