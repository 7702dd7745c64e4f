"""The words and axes of the house, said once.

Axes: N problems, G attempts at each problem, T turns, A tokens of an action, O tokens of an observation, P tokens of the
prompt, V vocabulary, B sequences (N·G, flattened), L positions of a sequence.

An episode is a finite conversation: `prompt [P]`, then T turns of `observation [O]` (written by the task, never trained on) and
`action [A]` (written by the policy, ended by END or by being A tokens long). A=1 is a classic token MDP; T=1 is single-turn
"prompt -> completion"; both large is an agent. `reward[t]` follows `action[t]`. After `done` a task absorbs: zero reward and a
False mask. Running out of turns is failure; `room` tells it from an end. There is no auto-reset and no discount array.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

State = Any


class Spec(NamedTuple):
    """The static layout of a task's episodes."""

    prompt_length: int  # P, at least 1
    observation_length: int  # O, at least 1
    action_length: int  # A, at least 1
    num_turns: int  # T, at least 1
    choices: tuple[
        int, ...
    ]  # the tokens a sensible action is made of: what a random policy draws from
    end: int = 2  # the token that ends an action early (tokens.END); -1: none does
    limited: bool = True  # does the last turn cut an episode off? If not, it is the task's own end

    @property
    def context_length(self) -> int:
        """Tokens of a whole episode: P + T·(O + A)."""
        return self.prompt_length + self.num_turns * (self.observation_length + self.action_length)


class TimeStep(NamedTuple):
    """What a task says at the start (reward 0) and after each action."""

    observation: Int[Array, " O"]  # what the policy reads before its next action
    reward: Float[Array, ""]  # caused by the action just taken
    done: Bool[Array, ""]  # the episode is over; it absorbs
    success: Bool[Array, ""]  # the verifier's verdict: the goal is reached (final once done)


def restart(observation: Int[Array, " O"]) -> TimeStep:
    """Returns the time step with which an episode begins: no reward, and not done."""
    return TimeStep(observation, jnp.float32(0), jnp.bool_(False), jnp.bool_(False))


class Trajectory(NamedTuple):
    """Finished episodes. G is an axis, never an id: a group's mean is `mean(axis=1)`."""

    prompt: Int[Array, "N G P"]
    observation: Int[Array, "N G T O"]
    action: Int[Array, "N G T A"]  # PAD where masked
    mask: Bool[Array, "N G T A"]  # False after END within a turn, and after the episode's end
    log_prob: Float[Array, "N G T A"]  # of the policy that acted, when it acted; 0 for an expert
    collision: Float[
        Array, "N G T A"
    ]  # Σ π² over the vocabulary then: the chance that two draws agree; 0 for an expert
    reference_log_prob: Float[
        Array, "N G T A"
    ]  # of the reference policy; 0 where nothing asks for it
    label: Int[Array, "N G T A"]  # what the expert would have done there
    label_mask: Bool[Array, "N G T A"]
    reward: Float[Array, "N G T"]  # caused by the turn's action
    penalty: Float[
        Array, "N G T A"
    ]  # what each token's own choice costs besides: a KL in the reward, else 0
    success: Bool[Array, "N G"]
    room: Int[
        Array, "N G"
    ]  # tokens that the limit left to an episode that ended; -1: it was cut off
    anchor: Int[
        Array, "N G T"
    ]  # identity of the task state before the action: what GiGPO groups by
    potential: Float[Array, "N G T"]  # the task's potential before the action
    is_key: Bool[
        Array, "N G T"
    ]  # ground truth: does the choice made here change the expected return?
    state: Any = ()  # the task's states before the actions [N, G, T, ...], where values are estimated from forks of them


class Value(NamedTuple):
    """Expected (discounted) return before and after each token; `after` holds the turn's reward if the token ends its turn."""

    before: Float[Array, "N G T A"]
    after: Float[Array, "N G T A"]
    discount: Float[Array, ""]  # per token, the one that both were computed with


@runtime_checkable
class Environment(Protocol):
    """A task: a frozen dataclass whose fields are its difficulty knobs. One instance of everything; batch it with `vmap`.

    The instance is drawn by `reset`'s key alone and is wholly in the state; `step`'s key is for random transitions.
    Off its own path too, `expert` does what is best from the given state, so that it can relabel a policy's episodes (DAgger).
    Every action that is not legal has one and the same outcome; a task where a token earns what it earns, whatever the others are,
    says `judges_tokens = True`.

    Where it makes sense a task also has `chance() -> float` (the success of uniformly random actions, in closed form),
    `other_rule() -> Environment` (the same task under a rule that training never showed), `title` (a short name for tables),
    `num_instances` (how many there are, if few) and, if its transitions or rewards are random,
    `outcomes(state, action) -> (probability [M], states and steps [M, ...])`: all that can follow, rewards in expectation.
    A task with `hidden = True` holds something that its expert may not use: the expert is best in expectation, and the potential is
    its return in hindsight.
    """

    @property
    def spec(self) -> Spec: ...
    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]: ...
    def prompt(self, state: State) -> Int[Array, " P"]: ...
    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]: ...
    def expert(self, state: State) -> Int[Array, " A"]: ...
    def anchor(self, state: State) -> Int[Array, ""]: ...
    def potential(self, state: State) -> Float[Array, ""]: ...
    def is_key(self, state: State) -> Bool[Array, ""]: ...
    def longer(self, factor: int) -> "Environment": ...
    def bounds(
        self,
    ) -> tuple[float, float]: ...  # the least and the largest return of an episode, noise aside
    def render_prompt(self, prompt) -> str: ...
    def render_turn(self, observation, action) -> str: ...


Task = Environment | dict[str, Environment]  # one task, or a mixture of several by name


def parts(task: Task) -> dict[str, Environment]:
    """The tasks of a mixture by name, in alphabetical order (as jax orders dictionaries); a single task is one part, without a name."""
    return dict(sorted(task.items())) if isinstance(task, dict) else {"": task}
