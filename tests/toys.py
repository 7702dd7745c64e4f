"""Two tiny tasks with many complications, and tiny networks in which every token matters."""

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import config
from agentic_rl.policy import transformer
from agentic_rl.policy.transformer import Policy
from agentic_rl.types import Environment, Spec, TimeStep

TINY = Policy(width=16, layers=2, heads=2, mlp=16)
DIGITS = 3


class Walking(NamedTuple):
    """Where one is going, where one is, and when."""

    goal: Int[Array, ""]
    place: Int[Array, ""]
    turn: Int[Array, ""]


@config
class Walk:
    """Walk along `size` places to the goal, up to `action_length` steps a turn.

    It has several turns, several tokens, ragged actions (END ends one early), random transitions
    (in one turn of `gust`, a step to the right), a reward in every turn (-1/8, and 1 on arrival),
    and episodes that end early. Places are clipped, and an action with another token is no step.
    """

    num_turns: int = 4
    size: int = 6
    action_length: int = 3
    prompt_length: int = 2
    gust: int = 3

    @property
    def spec(self) -> Spec:
        return Spec(
            self.prompt_length,
            2,
            self.action_length,
            self.num_turns,
            (tokens.LEFT, tokens.RIGHT, tokens.END),
        )

    def reset(self, key: PRNGKeyArray) -> tuple[Walking, TimeStep]:
        goal, distance = (
            jax.random.randint(jax.random.fold_in(key, i), (), i, self.size) for i in range(2)
        )
        state = Walking(goal, (goal + distance) % self.size, jnp.int32(0))
        return state, TimeStep(
            self._observe(state), jnp.float32(0), jnp.bool_(False), jnp.bool_(False)
        )

    def prompt(self, state: Walking) -> Int[Array, " P"]:
        return jnp.full(self.prompt_length, tokens.BOS).at[-1].set(tokens.value(state.goal))

    def _observe(self, state: Walking) -> Int[Array, " O"]:
        return jnp.stack([jnp.int32(tokens.OBS), tokens.value(state.place)])

    def step(
        self, key: PRNGKeyArray, state: Walking, action: Int[Array, " A"]
    ) -> tuple[Walking, TimeStep]:
        return self._move(state, action, jax.random.randint(key, (), 0, self.gust) == 0)

    def outcomes(
        self, state: Walking, action: Int[Array, " A"]
    ) -> tuple[Float[Array, " M"], Walking, TimeStep]:
        chance = jnp.array([1 / self.gust, 1 - 1 / self.gust])
        return chance, *jax.vmap(lambda gust: self._move(state, action, gust))(
            jnp.array([True, False])
        )

    def _move(
        self, state: Walking, action: Int[Array, " A"], gust: Bool[Array, ""]
    ) -> tuple[Walking, TimeStep]:
        ended = jnp.cumsum(action == tokens.END) > 0
        steps = jnp.where(
            ended, 0, (action == tokens.RIGHT).astype(jnp.int32) - (action == tokens.LEFT)
        )
        steps = jnp.where((ended | (steps != 0)).all(), steps.sum(), 0)
        place = jnp.clip(state.place + steps + gust, 0, self.size - 1)
        state = state._replace(place=place, turn=state.turn + 1)
        arrived = place == state.goal
        return state, TimeStep(
            self._observe(state),
            arrived - jnp.float32(0.125),
            arrived | (state.turn >= self.num_turns),
            arrived,
        )

    def expert(self, state: Walking) -> Int[Array, " A"]:
        there, ahead = jnp.arange(self.action_length), jnp.abs(state.goal - state.place)
        step = jnp.where(state.goal > state.place, tokens.RIGHT, tokens.LEFT)
        return jnp.where(there < ahead, step, jnp.where(there == ahead, tokens.END, tokens.PAD))

    def anchor(self, state: Walking) -> Int[Array, ""]:
        return (state.goal * self.size + state.place) * (self.num_turns + 1) + state.turn

    def potential(self, state: Walking) -> Float[Array, ""]:
        return -jnp.abs(state.goal - state.place) / self.size

    def is_key(self, state: Walking) -> Bool[Array, ""]:
        return state.place != state.goal

    def longer(self, factor: int) -> "Walk":
        return replace(self, num_turns=self.num_turns * factor)

    def bounds(self) -> tuple[float, float]:
        return -0.125 * self.num_turns, 1.0

    def render_prompt(self, prompt) -> str:
        return f"to {prompt[-1] - tokens.VALUE}"

    def render_turn(self, observation, action) -> str:
        written = tokens.text(t for t in action if t != tokens.PAD)
        return f"at {observation[1] - tokens.VALUE} -> {written}"


class Repeating(NamedTuple):
    """What to say in each turn, which turn it is, and how many were right."""

    digit: Int[Array, " T"]
    turn: Int[Array, ""]
    num_right: Int[Array, ""]


@config
class Ragged(Environment):
    """Repeat the digit shown, then END: 1 for the digit, -0.25 for saying more.

    END alone leaves the episode.
    """

    num_turns: int = 3

    @property
    def spec(self) -> Spec:
        return Spec(
            2,
            1,
            3,
            self.num_turns,
            (*range(tokens.VALUE, tokens.VALUE + DIGITS), tokens.END, tokens.END),
        )

    def reset(self, key: PRNGKeyArray) -> tuple[Repeating, TimeStep]:
        state = Repeating(
            jax.random.randint(key, (self.num_turns,), 0, DIGITS), jnp.int32(0), jnp.int32(0)
        )
        return state, TimeStep(
            self._observe(state), jnp.float32(0), jnp.bool_(False), jnp.bool_(False)
        )

    def prompt(self, state: Repeating) -> Int[Array, " P"]:
        return jnp.array([tokens.BOS, tokens.ACT])

    def _digit(self, state: Repeating) -> Int[Array, ""]:
        return tokens.value(state.digit[jnp.minimum(state.turn, self.num_turns - 1)])

    def _observe(self, state: Repeating) -> Int[Array, " O"]:
        return self._digit(state)[None]

    def step(
        self, key: PRNGKeyArray, state: Repeating, action: Int[Array, " A"]
    ) -> tuple[Repeating, TimeStep]:
        right, leaves = action[0] == self._digit(state), action[0] == tokens.END
        says_more = ~leaves & (action[1] != tokens.END)
        state = state._replace(turn=state.turn + 1, num_right=state.num_right + right)
        done = leaves | (state.turn >= self.num_turns)
        success = done & ~leaves & (state.num_right > 0)
        return state, TimeStep(self._observe(state), right - 0.25 * says_more, done, success)

    def expert(self, state: Repeating) -> Int[Array, " A"]:
        return jnp.stack([self._digit(state), jnp.int32(tokens.END), jnp.int32(tokens.PAD)])

    def anchor(self, state: Repeating) -> Int[Array, ""]:
        return state.turn * DIGITS + self._digit(state)

    def potential(self, state: Repeating) -> Float[Array, ""]:
        return jnp.float32(self.num_turns - state.turn)

    def is_key(self, state: Repeating) -> Bool[Array, ""]:
        return jnp.bool_(True)

    def render_prompt(self, prompt) -> str:
        return tokens.text(prompt)

    def render_turn(self, observation, action) -> str:
        return f"{tokens.text(observation)} -> {tokens.text(action)}"


def compiled(function):
    """Returns the function, compiled in a hurry because tests run it once or twice."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


@cache
def weights(of: Policy = TINY, seed: int = 0, likely: tuple[int, ...] = ()) -> transformer.Params:
    """Returns random weights, so large that every token a position sees shows in its logits.

    With tied embeddings, the `likely` tokens are drawn often.
    """
    leaves, tree = jax.tree.flatten(
        compiled(lambda key: transformer.init(of, key))(jax.random.key(seed))
    )
    random = np.random.default_rng(seed)
    params = jax.tree.unflatten(
        tree, [x + 0.2 * random.normal(size=x.shape).astype(np.float32) for x in leaves]
    )
    if likely:  # a feature that all tokens have and that only the likely ones are read from
        table = params["embedding"]["embedding"].at[:, 0].set(1.0).at[jnp.array(likely), 0].set(3.0)
        params["embedding"]["embedding"] = table
    return params


def babbler(policy_config: Policy, task=Ragged(), seed: int = 0) -> transformer.Params:
    """Returns weights of a policy that prefers the task's choices and has a value head."""
    params = transformer.init(policy_config, jax.random.key(seed))
    liked = jnp.ones(tokens.VOCABULARY).at[jnp.array(task.spec.choices)].set(2.5)
    # Every token's feature leans to this direction, the last one's too: a bias of the logits.
    direction = jnp.ones(policy_config.width) / policy_config.width**0.5
    noise = jax.random.split(jax.random.key(seed + 1))
    embedding = (
        0.2 * jax.random.normal(noise[0], (tokens.VOCABULARY, policy_config.width))
        + liked[:, None] * direction
    )
    kernel = 0.2 * jax.random.normal(noise[1], params["value_head"]["kernel"].shape)
    return params | {
        "embedding": {"embedding": embedding},
        "value_head": params["value_head"] | {"kernel": kernel},
    }
