"""Exact planning in small tables, done once when an instance is drawn: what experts, potentials and key decisions are read from."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

FAR = 1 << 20  # the distance of what cannot be reached
SAME = 1e-6  # returns that differ by less are equal


class Plan(NamedTuple):
    """The best play, by turns left and place; 0 where nothing is left to win."""

    value: Float[Array, "T+1 S"]  # its expected return
    move: Int[Array, "T+1 S"]  # a best move, and of these the one that wins soonest
    is_key: Bool[Array, "T+1 S"]  # some move, or staying, has a lower expected return


def plan(
    after: Int[Array, "S M"],
    drift: Float[Array, "M M"],
    end: Bool[Array, " S"],
    worth: Float[Array, " S"],
    num_turns: int,
) -> Plan:
    """Value iteration over the turns left: Q₀ = 0, Qₖ₊₁(s, m) = Σₙ drift(m, n) Vₖ(after(s, n)), Vₖ = worth at an end, else max Qₖ.

    Args:
      drift: the chance that a chosen move (row) becomes that one (column).
      worth: the reward on reaching a place that ends the episode; zero elsewhere.
    """

    def one_more(q, _):
        value = jnp.where(end, worth, q.max(1))
        return jnp.where(end[:, None], 0.0, (value[after][:, None] * drift).sum(-1)), q

    q = jax.lax.scan(one_more, jnp.zeros(after.shape), length=num_turns + 1)[1]
    value = q.max(-1)
    staying = jnp.concatenate([value[:1], value[:-1]])
    soonest = jnp.where(q >= value[..., None] - SAME, q.sum(0), -1.0)
    return Plan(value, jnp.argmax(soonest, -1), value > jnp.minimum(q.min(-1), staying) + SAME)


def distances(after: Int[Array, "S M"], goal: Bool[Array, " S"]) -> Int[Array, " S"]:
    """The least number of moves from each place to a goal; `FAR` where there is no way."""

    def nearer(distance):
        return jnp.minimum(distance, 1 + distance[after].min(1))

    def is_new(before_and_now):
        return (before_and_now[0] != before_and_now[1]).any()

    start = jnp.where(goal, 0, FAR)
    return jax.lax.while_loop(is_new, lambda x: (x[1], nearer(x[1])), (start, nearer(start)))[1]
