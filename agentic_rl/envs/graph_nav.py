"""Find the way through a graph that the prompt lists: states recur within a group, pits and bottlenecks decide.

One episode at the default knobs; an observation shows the node one is at, its neighbours slot by slot, the goal and the slot
taken last, the action is a slot:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(GraphNav(), problem=4))
go to n4, never to n2; n0: n3 n5; n1: n7; n2: n4 n7; n3: n0 n6; n4: n2 n6 n7; n5: n0 n6; n6: n3 n4 n5 n7; n7: n1 n2 n4 n6
at n0: v0 to n3, v1 to n5 -> v0
at n3: v0 to n0, v1 to n6 -> v1
at n6: v0 to n3, v1 to n4, v2 to n5, v3 to n7 -> v1
success, return 1.0

States that recur are what GiGPO's groups of steps (2505.10978) live on.
"""

from dataclasses import replace
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Natural, Probability, Range
from agentic_rl.envs.parts.graph import random_graph, rooms
from agentic_rl.envs.parts.planning import Plan, plan
from agentic_rl.types import Spec, TimeStep, restart

DEGREE = 4


class State(NamedTuple):
    """The instance (graph, pits, goal, and the best play) and where one is."""

    neighbour: Int[Array, "N 4"]  # by slot, ascending; the node itself where a slot is empty
    pit: Bool[Array, " N"]
    goal: Int[Array, ""]
    plan: Plan  # its moves are slots
    node: Int[Array, ""]
    heading: Int[Array, ""]  # the slot taken last; at first 0
    turn: Int[Array, ""]


@config
class GraphNav:
    """Go from the start to the goal, a neighbour a turn: 1 on arrival, 0 in a pit. An empty slot leads nowhere.

    The graph is random and connected, of degree 4 at most, without its pits too; only one edge joins a room to the next,
    and the way goes from the first room to the last.
    """

    num_nodes: Annotated[int, Range(2, 16)] = 8
    num_turns: Count = 8
    num_loops: Natural = (
        3  # edges beyond those of a tree, where degree and rooms leave room for them
    )
    num_pits: Natural = 1
    num_rooms: Count = 1
    slip: Probability = 0.0  # the chance that a slot drawn uniformly is taken instead
    relative: bool = False  # slots are counted from the one taken last

    def __post_init__(self):
        least = self.num_nodes - 1
        check(
            self.num_turns >= least,
            f"num_turns must be at least {least}, the longest way there can be, not {self.num_turns}.",
        )
        most = self.num_nodes // 2
        check(
            1 <= self.num_rooms <= most,
            f"num_rooms must be 1 to {most} (a room has two nodes), not {self.num_rooms}.",
        )
        most = min(most, self.num_nodes - 2 * self.num_rooms)
        check(
            0 <= self.num_pits <= most,
            f"num_pits must be 0 to {most} (a room has two other nodes), not {self.num_pits}.",
        )

    @property
    def spec(self) -> Spec:
        slots = tuple(range(tokens.VALUE, tokens.VALUE + DEGREE))
        return Spec(
            2 + DEGREE * self.num_nodes + self.num_pits, 4 + DEGREE, 1, self.num_turns, slots
        )

    @property
    def _drift(self) -> Float[Array, "4 4"]:
        return (1 - self.slip) * jnp.eye(DEGREE) + self.slip / DEGREE

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        graph, names, start, goal = (jax.random.fold_in(key, i) for i in range(4))
        node = jax.random.permutation(names, self.num_nodes)
        room = rooms(self.num_nodes, self.num_rooms, self.num_pits)
        edge = random_graph(graph, room, self.num_pits, self.num_loops, DEGREE)[node][:, node]
        pit, room = node >= self.num_nodes - self.num_pits, room[node]
        start = jax.random.categorical(start, jnp.log(~pit & (room == 0)))
        goal = jax.random.categorical(
            goal,
            jnp.log(~pit & (room == self.num_rooms - 1) & (jnp.arange(self.num_nodes) != start)),
        )
        neighbour = jax.vmap(lambda row, own: jnp.nonzero(row, size=DEGREE, fill_value=own)[0])(
            edge, jnp.arange(self.num_nodes)
        )
        state = self._begin(neighbour, pit, start, goal)
        return state, restart(self._observe(state))

    def _begin(
        self,
        neighbour: Int[Array, "N 4"],
        pit: Bool[Array, " N"],
        start: Int[Array, ""],
        goal: Int[Array, ""],
    ) -> State:
        at_goal = jnp.arange(self.num_nodes) == goal
        best = plan(
            neighbour, self._drift, pit | at_goal, at_goal.astype(jnp.float32), self.num_turns
        )
        return State(neighbour, pit, goal, best, start, jnp.int32(0), jnp.int32(0))

    def _table(self, state: State) -> Int[Array, "N 4"]:
        """The tokens of every node's neighbours."""
        is_empty = state.neighbour == jnp.arange(self.num_nodes)[:, None]
        return jnp.where(is_empty, tokens.EMPTY, tokens.entity(state.neighbour))

    def prompt(self, state: State) -> Int[Array, " P"]:
        goal, pits = (
            tokens.entity(state.goal),
            tokens.entity(jnp.nonzero(state.pit, size=self.num_pits)[0]),
        )
        return jnp.concatenate(
            [jnp.stack([jnp.int32(tokens.BOS), goal]), self._table(state).ravel(), pits]
        )

    def _observe(self, state: State) -> Int[Array, " O"]:
        node, goal, heading = (
            tokens.entity(state.node),
            tokens.entity(state.goal),
            tokens.value(state.heading),
        )
        return jnp.concatenate(
            [
                jnp.stack([jnp.int32(tokens.OBS), node]),
                self._table(state)[state.node],
                jnp.stack([goal, heading]),
            ]
        )

    def _is_over(self, state: State) -> Bool[Array, ""]:
        return (state.node == state.goal) | state.pit[state.node] | (state.turn >= self.num_turns)

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        return self._move(
            state, action, jax.random.categorical(key, jnp.log(self._chance(state, action)))
        )

    def outcomes(
        self, state: State, action: Int[Array, " A"]
    ) -> tuple[Float[Array, " M"], State, TimeStep]:
        """Each slot that may be taken, and how likely that is."""
        return self._chance(state, action), *jax.vmap(lambda slot: self._move(state, action, slot))(
            jnp.arange(DEGREE)
        )

    def _chance(self, state: State, action: Int[Array, " A"]) -> Float[Array, " 4"]:
        return self._drift[(action[0] - tokens.VALUE + state.heading * self.relative) % DEGREE]

    def _move(
        self, state: State, action: Int[Array, " A"], slot: Int[Array, ""]
    ) -> tuple[State, TimeStep]:
        legal = (action[0] >= tokens.VALUE) & (action[0] < tokens.VALUE + DEGREE)
        node = jnp.where(
            legal & ~self._is_over(state), state.neighbour[state.node, slot], state.node
        )
        heading = jnp.where(node == state.node, state.heading, slot)
        state = state._replace(node=node, heading=heading, turn=state.turn + 1)
        success = node == state.goal
        return state, TimeStep(
            self._observe(state), success.astype(jnp.float32), self._is_over(state), success
        )

    def _turns_left(self, state: State) -> Int[Array, ""]:
        return jnp.maximum(self.num_turns - state.turn, 0)

    def expert(self, state: State) -> Int[Array, " A"]:
        slot = state.plan.move[self._turns_left(state), state.node]
        return tokens.value((slot - state.heading * self.relative) % DEGREE)[None]

    def anchor(self, state: State) -> Int[Array, ""]:
        return (state.turn * self.num_nodes + state.node) * DEGREE + state.heading * self.relative

    def potential(self, state: State) -> Float[Array, ""]:
        """The expert's expected return from here."""
        return state.plan.value[self._turns_left(state), state.node]

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Where a slot can lead into a pit or, when turns are short, too far from the goal."""
        return state.plan.is_key[self._turns_left(state), state.node]

    def longer(self, factor: int) -> "GraphNav":
        """The same task with `factor` times the turns, on as many times the nodes, 16 at most."""
        return replace(
            self, num_nodes=min(16, self.num_nodes * factor), num_turns=self.num_turns * factor
        )

    def other_rule(self) -> "GraphNav":
        """The same task with slots counted from the one taken last, or again from the first."""
        return replace(self, relative=not self.relative)

    def bounds(self) -> tuple[float, float]:
        """Failure and success."""
        return 0.0, 1.0

    def render_prompt(self, prompt) -> str:
        table, pits = (
            prompt[2 : 2 + DEGREE * self.num_nodes].reshape(-1, DEGREE),
            prompt[2 + DEGREE * self.num_nodes :],
        )
        rows = [f"n{i}: {_nodes(row)}" for i, row in enumerate(table)]
        return f"go to {_nodes(prompt[1:2])}{', never to ' if len(pits) else ''}{_nodes(pits)}; {'; '.join(rows)}"

    def render_turn(self, observation, action) -> str:
        slots = ", ".join(
            f"v{i} to {tokens.text([n])}"
            for i, n in enumerate(observation[2 : 2 + DEGREE])
            if n != tokens.EMPTY
        )
        last = f", last slot {tokens.text(observation[-1:])}" if self.relative else ""
        return f"at {_nodes(observation[1:2])}{last}: {slots} -> {tokens.text(action)}"


def _nodes(token) -> str:
    return tokens.text(t for t in token if t != tokens.EMPTY)
