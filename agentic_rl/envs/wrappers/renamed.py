"""Renames a task's values and entities, to test whether a policy knows the task or its words."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import config
from agentic_rl.config.ranges import Seed
from agentic_rl.types import Spec, State, TimeStep


@config
class Renamed:
    """A task under a permutation of its value tokens and one of its entity tokens.

    Control tokens and verbs keep their meaning.
    """

    task: Any  # the task that is renamed
    seed: Seed = 0  # seed of the permutations

    @property
    def _new(self) -> np.ndarray:
        """Returns the new name of each token."""
        random, name = np.random.default_rng(self.seed), np.arange(tokens.VOCABULARY)
        for block in (slice(tokens.VALUE, tokens.ENTITY), slice(tokens.ENTITY, tokens.VERB)):
            name[block] = random.permutation(name[block])
        return name

    def _rename(self, token: Int[Array, "..."]) -> Int[Array, "..."]:
        return jnp.asarray(self._new, jnp.int32)[token]

    @property
    def _old(self) -> np.ndarray:
        """Returns the token that each name stands for."""
        return np.argsort(self._new)

    @property
    def spec(self) -> Spec:
        spec = self.task.spec
        return spec._replace(choices=tuple(self._new[list(spec.choices)].tolist()))

    @property
    def num_instances(self) -> int:
        """Returns the number of instances of the wrapped task."""
        return getattr(self.task, "num_instances", 1)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        state, step = self.task.reset(key)
        return state, step._replace(observation=self._rename(step.observation))

    def prompt(self, state: State) -> Int[Array, " P"]:
        return self._rename(self.task.prompt(state))

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        state, step = self.task.step(key, state, jnp.asarray(self._old, jnp.int32)[action])
        return state, step._replace(observation=self._rename(step.observation))

    def expert(self, state: State) -> Int[Array, " A"]:
        return self._rename(self.task.expert(state))

    def anchor(self, state: State) -> Int[Array, ""]:
        return self.task.anchor(state)

    def potential(self, state: State) -> Float[Array, ""]:
        return self.task.potential(state)

    def is_key(self, state: State) -> Bool[Array, ""]:
        return self.task.is_key(state)

    def longer(self, factor: int) -> "Renamed":
        """Returns the longer task under the same names."""
        return Renamed(self.task.longer(factor), self.seed)

    def bounds(self) -> tuple[float, float]:
        """Returns the bounds of the wrapped task."""
        return self.task.bounds()

    def render_prompt(self, prompt) -> str:
        return self.task.render_prompt(self._old[prompt])

    def render_turn(self, observation, action) -> str:
        return self.task.render_turn(self._old[observation], self._old[action])
