"""Find the way through a graph that the prompt lists, past pits and bottlenecks.

An observation shows the current node, its neighbours slot by slot, the goal, and the slot taken
last; the action is a slot. One episode with six nodes:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(GraphNav(num_nodes=6), problem=4))
go to n4, never to n1; n0: n3; n1: n4 n5; n2: n4 n5; n3: n0 n4; n4: n1 n2 n3 n5; n5: n1 n2 n4
at n0: v0 to n3 -> v0
at n3: v0 to n0, v1 to n4 -> v1
success, return 1.0

States recur within a group of attempts, as GiGPO's groups of steps (2505.10978) need.
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
    """The instance (graph, pits, goal, and the best play) and the position in it."""

    neighbour: Int[Array, "N 4"]  # by slot, ascending; the node itself if a slot is empty
    pit: Bool[Array, " N"]
    goal: Int[Array, ""]
    plan: Plan  # its moves are slots
    node: Int[Array, ""]
    heading: Int[Array, ""]  # the slot taken last; at first 0
    turn: Int[Array, ""]


@config
class GraphNav:
    """Go from the start to the goal, one neighbour per turn: 1 on arrival, 0 in a pit.

    An empty slot leads nowhere. The graph is random, of degree 4 at most, and connected even
    without its pits. A single edge joins a room to the next, and the way goes from the first room
    to the last.
    """

    num_nodes: Annotated[int, Range(2, 16)] = 8  # nodes of the graph, pits included
    num_turns: Count = 8  # turns before the episode is cut off
    num_loops: Natural = 3  # edges beyond those of a tree, as far as degree and rooms allow
    num_pits: Natural = 1  # nodes that end the episode in failure
    num_rooms: Count = 1  # parts of the graph that single edges join
    slip: Probability = 0.0  # probability that a uniformly random slot is taken instead
    relative: bool = False  # slots are counted from the one taken last

    def __post_init__(self):
        least = self.num_nodes - 1
        allowed = f"at least {least}, the longest way there can be"
        check(self.num_turns >= least, f"num_turns must be {allowed}, not {self.num_turns}.")

        most = self.num_nodes // 2
        allowed = f"1 to {most} (a room has two nodes)"
        check(1 <= self.num_rooms <= most, f"num_rooms must be {allowed}, not {self.num_rooms}.")

        most = min(most, self.num_nodes - 2 * self.num_rooms)
        allowed = f"0 to {most} (a room has two other nodes)"
        check(0 <= self.num_pits <= most, f"num_pits must be {allowed}, not {self.num_pits}.")

    @property
    def _pits_at(self) -> int:
        """The place in the prompt at which the list of pits begins."""
        return 2 + DEGREE * self.num_nodes

    @property
    def spec(self) -> Spec:
        slots = tuple(range(tokens.VALUE, tokens.VALUE + DEGREE))
        return Spec(self._pits_at + self.num_pits, 4 + DEGREE, 1, self.num_turns, slots)

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
        each_node = jnp.arange(self.num_nodes)
        may_be_goal = ~pit & (room == self.num_rooms - 1) & (each_node != start)
        goal = jax.random.categorical(goal, jnp.log(may_be_goal))

        def slots(edges, own):
            return jnp.nonzero(edges, size=DEGREE, fill_value=own)[0]

        state = self._begin(jax.vmap(slots)(edge, each_node), pit, start, goal)
        return state, restart(self._observe(state))

    def _begin(
        self,
        neighbour: Int[Array, "N 4"],
        pit: Bool[Array, " N"],
        start: Int[Array, ""],
        goal: Int[Array, ""],
    ) -> State:
        at_goal = jnp.arange(self.num_nodes) == goal
        worth = at_goal.astype(jnp.float32)
        best = plan(neighbour, self._drift, pit | at_goal, worth, self.num_turns)
        return State(neighbour, pit, goal, best, start, jnp.int32(0), jnp.int32(0))

    def _table(self, state: State) -> Int[Array, "N 4"]:
        """Returns the tokens of every node's neighbours."""
        is_empty = state.neighbour == jnp.arange(self.num_nodes)[:, None]
        return jnp.where(is_empty, tokens.EMPTY, tokens.entity(state.neighbour))

    def prompt(self, state: State) -> Int[Array, " P"]:
        head = jnp.stack([jnp.int32(tokens.BOS), tokens.entity(state.goal)])
        pits = tokens.entity(jnp.nonzero(state.pit, size=self.num_pits)[0])
        return jnp.concatenate([head, self._table(state).ravel(), pits])

    def _observe(self, state: State) -> Int[Array, " O"]:
        head = jnp.stack([jnp.int32(tokens.OBS), tokens.entity(state.node)])
        tail = jnp.stack([tokens.entity(state.goal), tokens.value(state.heading)])
        return jnp.concatenate([head, self._table(state)[state.node], tail])

    def _is_over(self, state: State) -> Bool[Array, ""]:
        return (state.node == state.goal) | state.pit[state.node] | (state.turn >= self.num_turns)

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        chance = self._chance(state, action)
        return self._move(state, action, jax.random.categorical(key, jnp.log(chance)))

    def outcomes(
        self, state: State, action: Int[Array, " A"]
    ) -> tuple[Float[Array, " M"], State, TimeStep]:
        """Returns what follows each slot that may be taken, and its probability."""
        each = jax.vmap(lambda slot: self._move(state, action, slot))(jnp.arange(DEGREE))
        return self._chance(state, action), *each

    def _chance(self, state: State, action: Int[Array, " A"]) -> Float[Array, " 4"]:
        """Returns the probability of each slot to be taken."""
        return self._drift[(action[0] - tokens.VALUE + state.heading * self.relative) % DEGREE]

    def _move(
        self, state: State, action: Int[Array, " A"], slot: Int[Array, ""]
    ) -> tuple[State, TimeStep]:
        legal = (action[0] >= tokens.VALUE) & (action[0] < tokens.VALUE + DEGREE)
        moves = legal & ~self._is_over(state)
        node = jnp.where(moves, state.neighbour[state.node, slot], state.node)
        heading = jnp.where(node == state.node, state.heading, slot)
        state = state._replace(node=node, heading=heading, turn=state.turn + 1)
        success, done = node == state.goal, self._is_over(state)
        return state, TimeStep(self._observe(state), success.astype(jnp.float32), done, success)

    def _turns_left(self, state: State) -> Int[Array, ""]:
        return jnp.maximum(self.num_turns - state.turn, 0)

    def expert(self, state: State) -> Int[Array, " A"]:
        slot = state.plan.move[self._turns_left(state), state.node]
        return tokens.value((slot - state.heading * self.relative) % DEGREE)[None]

    def anchor(self, state: State) -> Int[Array, ""]:
        return (state.turn * self.num_nodes + state.node) * DEGREE + state.heading * self.relative

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's expected return from the state on."""
        return state.plan.value[self._turns_left(state), state.node]

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns whether a slot can lead into a pit, or too far away for the turns left."""
        return state.plan.is_key[self._turns_left(state), state.node]

    def longer(self, factor: int) -> "GraphNav":
        """Returns the task with `factor` times as many turns and nodes, but at most 16 nodes."""
        num_nodes = min(16, self.num_nodes * factor)
        return replace(self, num_nodes=num_nodes, num_turns=self.num_turns * factor)

    def other_rule(self) -> "GraphNav":
        """Returns the task with slots counted from the one taken last, or again from the first."""
        return replace(self, relative=not self.relative)

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of failure and success."""
        return 0.0, 1.0

    def render_prompt(self, prompt) -> str:
        table, pits = prompt[2 : self._pits_at].reshape(-1, DEGREE), prompt[self._pits_at :]
        nodes = "; ".join(f"n{i}: {_names(slots)}" for i, slots in enumerate(table))
        never = f", never to {_names(pits)}" if len(pits) else ""
        return f"go to {_names(prompt[1:2])}{never}; {nodes}"

    def render_turn(self, observation, action) -> str:
        table = enumerate(observation[2 : 2 + DEGREE])
        slots = ", ".join(f"v{i} to {tokens.text([n])}" for i, n in table if n != tokens.EMPTY)
        last = f", last slot {tokens.text(observation[-1:])}" if self.relative else ""
        return f"at {_names(observation[1:2])}{last}: {slots} -> {tokens.text(action)}"


def _names(token) -> str:
    return tokens.text(t for t in token if t != tokens.EMPTY)
