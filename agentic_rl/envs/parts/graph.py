"""Draws random connected graphs of bounded degree, made of rooms that single edges join.

Some nodes are pits: the graph stays connected without them.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray


def rooms(num_nodes: int, num_rooms: int, num_pits: int) -> Int[Array, " N"]:
    """Returns each node's room: runs of equal length, then the pits, one room after the other."""
    node, num_safe = jnp.arange(num_nodes), num_nodes - num_pits
    return jnp.where(node < num_safe, node * num_rooms // num_safe, node % num_rooms)


def random_graph(
    key: PRNGKeyArray, room: Int[Array, " N"], num_pits: int, num_loops: int, degree: int
) -> Bool[Array, "N N"]:
    """Returns which nodes are neighbours. The last `num_pits` are pits.

    First a tree: each node in turn joins an earlier node of its room that is no pit; the first node
    of a room joins a node of the room before. Then `num_loops` random nodes join another node of
    their room, unless a degree would exceed `degree`.
    """
    num_nodes = len(room)
    node = jnp.arange(num_nodes)
    pit = node >= num_nodes - num_pits

    def join(edge, i):
        step_key = jax.random.fold_in(key, i)
        one_key, other_key = (jax.random.fold_in(step_key, j) for j in range(2))
        in_tree = i < num_nodes
        one = jnp.where(in_tree, i, jax.random.randint(one_key, (), 0, num_nodes))
        has_room = edge.sum(1) < degree
        may_join = ~in_tree | ((node < one) & ~pit)
        free = has_room & has_room[one] & ~edge[one] & (node != one) & may_join
        in_same_room = free & (room == room[one])
        elsewhere = free & in_tree & (pit[one] | (room == room[one] - 1))
        pool = jnp.where(in_same_room.any(), in_same_room, elsewhere)
        other = jax.random.categorical(other_key, jnp.log(pool))
        new = pool.any() & (node == one)[:, None] & (node == other)
        return edge | new | new.T, None

    no_edges = jnp.zeros((num_nodes, num_nodes), bool)
    return jax.lax.scan(join, no_edges, jnp.arange(1, num_nodes + num_loops))[0]
