"""Plans exactly in small tables. A task does it once per instance, when `reset` draws it.

The task reads its expert, its potential and its key decisions off the result.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

FAR = 1 << 20  # the distance of a place from which no goal can be reached
SAME = 1e-6  # returns that differ by less than this count as equal


class Plan(NamedTuple):
    """The best play at each place, for each number of turns left (0 to T)."""

    value: Float[Array, "T+1 S"]  # its expected return; 0 where nothing can be won any more
    move: Int[Array, "T+1 S"]  # a best move; of several, the one that wins soonest
    is_key: Bool[Array, "T+1 S"]  # does some move, or staying, have a lower expected return?


def plan(
    after: Int[Array, "S M"],
    drift: Float[Array, "M M"],
    end: Bool[Array, " S"],
    worth: Float[Array, " S"],
    num_turns: int,
) -> Plan:
    """Returns the best play, found by value iteration over the turns left.

    Q₀ = 0, Qₖ₊₁(s, m) = Σₙ drift(m, n) Vₖ(after(s, n)), where Vₖ = worth at an end, else max Qₖ.

    Args:
      after: the place that each move leads to.
      drift: the probability that a chosen move (row) turns into another one (column).
      end: whether a place ends the episode.
      worth: the reward for reaching a place that ends the episode; zero elsewhere.
    """

    def one_more_turn(q, _):
        value = jnp.where(end, worth, q.max(1))
        return jnp.where(end[:, None], 0.0, (value[after][:, None] * drift).sum(-1)), q

    q = jax.lax.scan(one_more_turn, jnp.zeros(after.shape), length=num_turns + 1)[1]
    value = q.max(-1)
    staying = jnp.concatenate([value[:1], value[:-1]])
    soonest = jnp.where(q >= value[..., None] - SAME, q.sum(0), -1.0)
    return Plan(value, jnp.argmax(soonest, -1), value > jnp.minimum(q.min(-1), staying) + SAME)


def distances(after: Int[Array, "S M"], goal: Bool[Array, " S"]) -> Int[Array, " S"]:
    """Returns the least number of moves from each place to a goal; `FAR` if there is no way."""

    def nearer(distance):
        return jnp.minimum(distance, 1 + distance[after].min(1))

    def has_changed(before_and_now):
        before, now = before_and_now
        return (before != now).any()

    def advance(before_and_now):
        _, now = before_and_now
        return now, nearer(now)

    start = jnp.where(goal, 0, FAR)
    return jax.lax.while_loop(has_changed, advance, (start, nearer(start)))[1]
