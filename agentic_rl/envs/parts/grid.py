"""Square grids: cells numbered row by row, and the four moves in the order of gymnasium's FrozenLake."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from agentic_rl import tokens

MOVES = (tokens.LEFT, tokens.DOWN, tokens.RIGHT, tokens.UP)
STEPS = ((0, -1), (1, 0), (0, 1), (-1, 0))  # rows and columns that each move crosses


def neighbours(size: int) -> Int[Array, "C 4"]:
    """The cell that each move leads to; at the border, the cell itself."""
    cell = jnp.arange(size * size)
    row, column = jnp.moveaxis(
        jnp.stack([cell // size, cell % size], axis=1)[:, None] + jnp.array(STEPS), -1, 0
    )
    inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
    return jnp.where(inside, row * size + column, cell[:, None])


def read_move(token: Int[Array, ""]) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """The index of a move's token, and whether it is one at all."""
    is_move = token == jnp.array(MOVES)
    return jnp.argmax(is_move), is_move.any()


def place(cell: Int[Array, ""], size: int) -> Int[Array, "2"]:
    """The tokens of a cell's row and column."""
    return tokens.value(jnp.stack([cell // size, cell % size]))


def drawing(cell, size: int, letters: dict[int, str]) -> str:
    """The rows of a map of tokens, as words of letters."""
    text = "".join(letters[int(t)] for t in cell)
    return " ".join(text[i : i + size] for i in range(0, len(text), size))
