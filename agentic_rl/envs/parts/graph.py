"""Random connected graphs of bounded degree, in rooms that single edges join, with dead ends that no way needs."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray


def rooms(num_nodes: int, num_rooms: int, num_pits: int) -> Int[Array, " N"]:
    """The room of each node: runs of equal length, then the pits, dealt out in turn."""
    node, num_safe = jnp.arange(num_nodes), num_nodes - num_pits
    return jnp.where(node < num_safe, node * num_rooms // num_safe, node % num_rooms)


def random_graph(
    key: PRNGKeyArray, room: Int[Array, " N"], num_pits: int, num_loops: int, degree: int
) -> Bool[Array, "N N"]:
    """Which nodes are neighbours; the last `num_pits` are pits, and the graph is connected without them too.

    Each node in turn joins an earlier one of its room that is no pit (the first of a room, one of the room before), a tree;
    then `num_loops` random nodes join another of their room, where that leaves no degree above `degree`.
    """
    num_nodes = len(room)
    node = jnp.arange(num_nodes)
    pit = node >= num_nodes - num_pits

    def join(edge, i):
        here, there = (jax.random.fold_in(jax.random.fold_in(key, i), j) for j in range(2))
        in_tree = i < num_nodes
        one = jnp.where(in_tree, i, jax.random.randint(here, (), 0, num_nodes))
        has_room = edge.sum(1) < degree
        free = (
            has_room
            & has_room[one]
            & ~edge[one]
            & (node != one)
            & (~in_tree | ((node < one) & ~pit))
        )
        near = free & (room == room[one])
        elsewhere = free & in_tree & (pit[one] | (room == room[one] - 1))
        pool = jnp.where(near.any(), near, elsewhere)
        other = jax.random.categorical(there, jnp.log(pool))
        new = pool.any() & (node == one)[:, None] & (node == other)
        return edge | new | new.T, None

    return jax.lax.scan(
        join, jnp.zeros((num_nodes, num_nodes), bool), jnp.arange(1, num_nodes + num_loops)
    )[0]
