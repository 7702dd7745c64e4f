"""Solve the towers of Hanoi, whose shortest plan doubles in length with each disk.

An observation shows the peg of each disk; the text below lists the disks of a peg from the bottom
up, and 1 is the smallest. The action names the peg to take a disk from and the peg to put it on.
One episode with two disks:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(Hanoi(num_disks=2), problem=2))
bring all 2 disks to peg 1
peg 0: -, peg 1: -, peg 2: 2 1 -> 2 to 0
peg 0: 1, peg 1: -, peg 2: 2 -> 2 to 1
peg 0: 1, peg 1: 2, peg 2: - -> 0 to 1
success, return 1.0

After the puzzle of The Illusion of Thinking (2506.06941).
"""

from dataclasses import replace
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import config
from agentic_rl.config.ranges import Natural, Range
from agentic_rl.types import Spec, TimeStep, restart

PEGS = 3


class State(NamedTuple):
    """The goal, and where the disks are."""

    goal: Int[Array, ""]
    peg: Int[Array, " N"]  # of each disk, the smallest first
    turn: Int[Array, ""]


@config
class Hanoi:
    """Bring all disks to the goal peg, one per turn, never a larger one onto a smaller one.

    The reward is 1 when all are there. The start is any position but the goal.
    """

    num_disks: Annotated[int, Range(1, 10)] = 3  # disks, which sets the length of the plan
    slack: Natural = 3  # turns beyond the 2^num_disks - 1 that a stacked start takes
    stacked: bool = False  # episodes start with all disks on one of the other pegs

    @property
    def spec(self) -> Spec:
        pegs = tuple(range(tokens.VALUE, tokens.VALUE + PEGS))
        return Spec(2, 1 + self.num_disks, 2, 2**self.num_disks - 1 + self.slack, pegs)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        goal, start = (jax.random.fold_in(key, i) for i in range(2))
        goal = jax.random.randint(goal, (), 0, PEGS)
        power = PEGS ** jnp.arange(self.num_disks)
        most = PEGS if self.stacked else PEGS**self.num_disks
        apart = jax.random.randint(start, (), 1, most)  # 0 would be the goal itself
        shift = apart if self.stacked else apart // power
        state = State(goal, (jnp.full(self.num_disks, goal) + shift) % PEGS, jnp.int32(0))
        return state, restart(self._observe(state))

    def prompt(self, state: State) -> Int[Array, " P"]:
        return jnp.stack([jnp.int32(tokens.BOS), tokens.value(state.goal)])

    def _observe(self, state: State) -> Int[Array, " O"]:
        return jnp.concatenate([jnp.array([tokens.OBS]), tokens.value(state.peg)])

    def _plan(self, state: State) -> tuple[Int[Array, ""], Int[Array, "2"]]:
        """Returns the least number of moves to the goal, and the first of them.

        It goes from the largest disk down. Disk i costs 2^i moves if it is not on its target peg;
        all smaller disks must then be on the third peg, which becomes their target.
        """
        target, distance, move = state.goal, jnp.int32(0), jnp.zeros(2, jnp.int32)
        for i in reversed(range(self.num_disks)):
            peg = state.peg[i]
            away = peg != target
            distance += away * 2**i
            move = jnp.where(away, jnp.stack([peg, target]), move)
            target = jnp.where(away, PEGS - peg - target, target)
        return distance, move

    def _move(self, state: State, pegs: Int[Array, "2"]) -> State:
        """Returns the state a turn later. An illegal move, or one after the end, moves no disk."""
        disk = jnp.arange(self.num_disks)
        source, target = jnp.clip(pegs, 0, PEGS - 1)
        is_on = state.peg == jnp.arange(PEGS)[:, None]
        top = jnp.where(is_on, disk, self.num_disks).min(1)  # num_disks: the peg is empty
        are_pegs = ((pegs >= 0) & (pegs < PEGS)).all()
        legal = are_pegs & (top[source] < top[target]) & (state.peg != state.goal).any()
        peg = jnp.where(legal & (disk == top[source]), target, state.peg)
        return state._replace(peg=peg, turn=state.turn + 1)

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        state = self._move(state, action - tokens.VALUE)
        success = (state.peg == state.goal).all()
        done = success | (state.turn >= self.spec.num_turns)
        return state, TimeStep(self._observe(state), success.astype(jnp.float32), done, success)

    def expert(self, state: State) -> Int[Array, " A"]:
        return tokens.value(self._plan(state)[1])

    def anchor(self, state: State) -> Int[Array, ""]:
        position = jnp.sum(state.peg * PEGS ** jnp.arange(self.num_disks))
        return state.turn * PEGS**self.num_disks + position

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's return from the state on."""
        distance = self._plan(state)[0]
        return jnp.where((distance > 0) & (distance <= self.spec.num_turns - state.turn), 1.0, 0.0)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns whether the worst move, or none, leaves too few turns."""
        moves = jnp.stack(jnp.meshgrid(jnp.arange(PEGS), jnp.arange(PEGS)), axis=-1).reshape(-1, 2)
        worst = jax.vmap(lambda move: self._plan(self._move(state, move))[0])(moves).max()
        return (self.potential(state) > 0) & (worst > self.spec.num_turns - state.turn - 1)

    def longer(self, factor: int) -> "Hanoi":
        """Returns the task with one more disk for each doubling of the turns."""
        num_disks = self.num_disks + (factor - 1).bit_length()
        return replace(self, num_disks=num_disks, slack=self.slack * factor)

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of failure and success."""
        return 0.0, 1.0

    def render_prompt(self, prompt) -> str:
        return f"bring all {self.num_disks} disks to peg {prompt[1] - tokens.VALUE}"

    def render_turn(self, observation, action) -> str:
        peg = observation[1:] - tokens.VALUE
        towers = []
        for p in range(PEGS):
            disks = [str(i + 1) for i in reversed(range(self.num_disks)) if peg[i] == p]
            towers.append(f"peg {p}: {' '.join(disks) or '-'}")
        pegs = [
            str(t - tokens.VALUE) if t in self.spec.choices else tokens.text([t]) for t in action
        ]
        return f"{', '.join(towers)} -> {' to '.join(pegs)}"
