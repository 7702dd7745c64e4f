"""Defines the data that all rooms exchange, and the axes of their arrays.

Axes: N problems, G attempts at each problem, T turns, A tokens of an action, O tokens of an
observation, P tokens of the prompt, V vocabulary, B sequences (N·G, flattened), L positions of a
sequence.

An episode is a finite conversation. It begins with `prompt [P]`. Then follow T turns, each with an
`observation [O]`, which the task writes and nobody is trained on, and an `action [A]`, which the
policy writes and ends with END (or by using all A tokens). A=1 is a classic token MDP, T=1 is a
single-turn completion, and with both large it is an agent.

`reward[t]` follows `action[t]`. After `done` a task absorbs: its rewards are zero and its mask is
False. Running out of turns is a failure; `Trajectory.room` tells it from an ordinary end. There is
no automatic reset and no array of discounts.
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
    choices: tuple[int, ...]  # tokens of which actions are made; a random policy draws from them
    end: int = 2  # the token that ends an action early (tokens.END); -1: there is none
    limited: bool = True  # does the last turn cut an episode off, or is it the task's own end?

    @property
    def context_length(self) -> int:
        """The tokens of a whole episode: P + T·(O + A)."""
        return self.prompt_length + self.num_turns * (self.observation_length + self.action_length)


class TimeStep(NamedTuple):
    """What a task returns at the start of an episode and after each action."""

    observation: Int[Array, " O"]  # what the policy reads before its next action
    reward: Float[Array, ""]  # caused by the action just taken; 0 at the start
    done: Bool[Array, ""]  # is the episode over?
    success: Bool[Array, ""]  # the verifier's verdict: is the goal reached? Final once done


def restart(observation: Int[Array, " O"]) -> TimeStep:
    """Returns the time step with which an episode begins: no reward, and not done."""
    return TimeStep(observation, jnp.float32(0), jnp.bool_(False), jnp.bool_(False))


class Trajectory(NamedTuple):
    """Finished episodes. Attempts are an axis: the mean over a group is `mean(axis=1)`."""

    prompt: Int[Array, "N G P"]
    observation: Int[Array, "N G T O"]
    action: Int[Array, "N G T A"]  # PAD where masked
    mask: Bool[Array, "N G T A"]  # False after END within a turn, and after the episode's end

    # log-probability under the policy that acted, at the time it acted; 0 for an expert
    log_prob: Float[Array, "N G T A"]
    # Σ π² over the vocabulary: the probability that two samples agree; 0 for an expert
    collision: Float[Array, "N G T A"]
    # log-probability under the reference policy; 0 where no part of the algorithm reads it
    reference_log_prob: Float[Array, "N G T A"]

    label: Int[Array, "N G T A"]  # the expert's action in the same state
    label_mask: Bool[Array, "N G T A"]
    reward: Float[Array, "N G T"]  # caused by the turn's action
    # a cost of each token's own choice, beside the reward: the KL, where it is part of the reward
    penalty: Float[Array, "N G T A"]
    success: Bool[Array, "N G"]
    # tokens that an episode could still have written when it ended; -1: it was cut off
    room: Int[Array, "N G"]

    anchor: Int[Array, "N G T"]  # an id of the task's state before the action; GiGPO groups by it
    potential: Float[Array, "N G T"]  # the task's potential before the action
    is_key: Bool[Array, "N G T"]  # ground truth: can this choice change the expected return?
    # the task's states before the actions [N, G, T, ...], where forks of them estimate values
    state: Any = ()


class Value(NamedTuple):
    """Expected discounted returns before and after each token.

    Where a token ends its turn, `after` includes the turn's reward.
    """

    before: Float[Array, "N G T A"]
    after: Float[Array, "N G T A"]
    discount: Float[Array, ""]  # per token, used for both


@runtime_checkable
class Environment(Protocol):
    """A task: a frozen dataclass whose fields are its difficulty knobs. `vmap` makes a batch of it.

    The key of `reset` alone decides which instance is drawn, and the state holds all of it; the
    key of `step` is for random transitions. `expert` acts best from any state, also one that the
    expert itself would not reach, so that it can relabel a policy's episodes (DAgger). All illegal
    actions have the same outcome. A task that rewards each token on its own, whatever the others
    are, says `judges_tokens = True`.

    Where it makes sense, a task also has
      chance() -> float: the success rate of uniformly random actions, in closed form;
      other_rule() -> Environment: the same task under a rule that training never showed;
      title: a short name for tables;
      num_instances: the number of instances, if there are few;
      outcomes(state, action) -> (probability [M], states and time steps [M, ...]): all that can
        follow, with expected rewards, if transitions or rewards are random;
      hidden = True: the state holds something that the expert may not use. Then the expert is best
        in expectation, and the potential is its return in hindsight.
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
    def bounds(self) -> tuple[float, float]: ...  # the least and the largest return, without noise
    def render_prompt(self, prompt) -> str: ...
    def render_turn(self, observation, action) -> str: ...


Task = Environment | dict[str, Environment]  # one task, or a mixture of several by name


def parts(task: Task) -> dict[str, Environment]:
    """Returns the tasks of a mixture by name, in the order in which jax sorts dictionaries.

    A single task is one part, whose name is empty.
    """
    return dict(sorted(task.items())) if isinstance(task, dict) else {"": task}
