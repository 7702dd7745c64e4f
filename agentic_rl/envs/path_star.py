"""Name the way from the hub of a star to the end of one of its arms.

Only the first step is a choice, and it takes a look ahead. The prompt lists the edges in random
order; the action names the nodes after the start. One episode with two arms:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(PathStar(arms=2), problem=0))
the way from 5 to 9, told after the start, by the edges 3-6, 5-13, 13-0, 0-9, 5-3, 6-12
-> 13 0 9
success, return 1.0

After Bachmann & Nagarajan (2403.06963): next-token training reads each node off the one before it,
and guesses the first. From its end (`backwards`) the same way is easy, since every node but the hub
has one edge into it.
"""

from dataclasses import replace
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Range, Several
from agentic_rl.envs.parts.one_turn import OneTurn
from agentic_rl.types import Spec, TimeStep

MAX_LABELS = tokens.VOCABULARY - tokens.VALUE  # labels are the tokens from the first value on


class State(NamedTuple):
    """The instance, and the turn, which is 1 once it is answered."""

    hub: Int[Array, ""]
    arm: Int[Array, "D L"]  # labels from the hub outwards; the goal ends the first arm
    order: Int[Array, " D*L"]  # the order in which the prompt lists the edges
    turn: Int[Array, ""]


@config
class PathStar(OneTurn):
    """Answer with the `length` nodes after the start, the goal included: 1 if all are right."""

    arms: Several = 3  # arms of the star, of which the goal ends one
    length: Count = 3  # nodes of an arm, without the hub
    num_labels: Annotated[int, Range(1, MAX_LABELS)] = 16  # labels from which nodes are drawn
    backwards: bool = False  # the answer goes from the goal to the node after the start

    def __post_init__(self):
        allowed = f"{self._num_edges + 1} (a label for every node) to {MAX_LABELS}"
        is_allowed = self._num_edges < self.num_labels <= MAX_LABELS
        check(is_allowed, f"num_labels must be {allowed}, not {self.num_labels}.")

    @property
    def _num_edges(self) -> int:
        return self.arms * self.length

    @property
    def spec(self) -> Spec:
        labels = tuple(range(tokens.VALUE, tokens.VALUE + self.num_labels))
        return Spec(3 + 2 * self._num_edges, 1, self.length, 1, labels)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        label, order = (jax.random.fold_in(key, i) for i in range(2))
        label = jax.random.permutation(label, self.num_labels)
        arm = label[1 : 1 + self._num_edges].reshape(self.arms, self.length)
        state = State(label[0], arm, jax.random.permutation(order, self._num_edges), jnp.int32(0))
        return self._begin(state)

    def prompt(self, state: State) -> Int[Array, " P"]:
        parent = jnp.concatenate([jnp.full((self.arms, 1), state.hub), state.arm[:, :-1]], axis=1)
        edge = jnp.stack([parent, state.arm], axis=-1).reshape(-1, 2)[state.order]
        ends = jnp.stack([state.hub, state.arm[0, -1]])
        labels = tokens.value(jnp.concatenate([edge.ravel(), ends]))
        return jnp.concatenate([jnp.array([tokens.BOS]), labels])

    def expert(self, state: State) -> Int[Array, " A"]:
        return tokens.value(state.arm[0, ::-1] if self.backwards else state.arm[0])

    def longer(self, factor: int) -> "PathStar":
        """Returns the task with arms `factor` times as long, and labels for all nodes."""
        length = self.length * factor
        return replace(self, length=length, num_labels=max(self.num_labels, self.arms * length + 1))

    def other_rule(self) -> "PathStar":
        """Returns the task with the answer in the opposite order."""
        return replace(self, backwards=not self.backwards)

    def chance(self) -> float:
        """Returns the success rate of uniformly random labels."""
        return self.num_labels**-self.length

    def render_prompt(self, prompt) -> str:
        edges = ", ".join("-".join(_labels(edge)) for edge in prompt[1:-2].reshape(-1, 2))
        start, goal = _labels(prompt[-2:])
        order = "from the goal back" if self.backwards else "after the start"
        return f"the way from {start} to {goal}, told {order}, by the edges {edges}"

    def render_turn(self, observation, action) -> str:
        return f"-> {' '.join(_labels(action))}"


def _labels(token) -> list[str]:
    """Returns labels as numbers, and other tokens by their names."""
    return [str(t - tokens.VALUE) if t >= tokens.VALUE else tokens.text([t]) for t in token]
