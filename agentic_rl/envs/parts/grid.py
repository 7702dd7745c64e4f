"""Square grids, with cells numbered row by row and moves in the order of gymnasium's FrozenLake."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from agentic_rl import tokens

MOVES = (tokens.LEFT, tokens.DOWN, tokens.RIGHT, tokens.UP)
STEPS = ((0, -1), (1, 0), (0, 1), (-1, 0))  # each move's change of row and column


def neighbours(size: int) -> Int[Array, "C 4"]:
    """Returns the cell that each move leads to; a move off the grid leads nowhere."""
    cell = jnp.arange(size * size)
    row, column = jnp.moveaxis(
        jnp.stack([cell // size, cell % size], axis=1)[:, None] + jnp.array(STEPS), -1, 0
    )
    inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
    return jnp.where(inside, row * size + column, cell[:, None])


def read_move(token: Int[Array, ""]) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """Returns the index of the move that a token stands for, and whether it stands for one."""
    is_move = token == jnp.array(MOVES)
    return jnp.argmax(is_move), is_move.any()


def place_tokens(cell: Int[Array, ""], size: int) -> Int[Array, "2"]:
    """Returns the tokens of a cell's row and column."""
    return tokens.value(jnp.stack([cell // size, cell % size]))


def render_map(cell, size: int, letters: dict[int, str]) -> str:
    """Returns a map of tokens as text: a letter per cell, and a word per row."""
    text = "".join(letters[int(t)] for t in cell)
    return " ".join(text[i : i + size] for i in range(0, len(text), size))
