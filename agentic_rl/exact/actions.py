"""All actions that can be told apart, as a tree of tokens."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from agentic_rl import tokens
from agentic_rl.config import check
from agentic_rl.policy.transformer import Policy
from agentic_rl.types import Environment, Spec

MOST_ACTIONS = 100_000


class Actions(NamedTuple):
    """K actions and S prefixes of them; static.

    A *place* is an action or a prefix: place k < K is action k, and place K + s is prefix s, the
    last of which is empty.
    """

    token: Int[np.ndarray, "K A"]  # PAD after the end
    prefix: Int[np.ndarray, "S A"]  # the longest first; PAD after
    length: Int[np.ndarray, " S"]  # tokens of each prefix
    child: Int[np.ndarray, "S V"]  # the place after each next token

    @property
    def root(self) -> int:
        """The place before the first token."""
        return len(self.token) + len(self.prefix) - 1


def alphabet(task: Environment, policy_config: Policy) -> Actions:
    """Returns the actions to tell apart for this task and policy.

    Illegal actions are lumped into one, unless the policy remembers what it wrote or the task
    judges each token, whatever the others are.
    """
    remembers = policy_config.context != "markov"
    return enumerate_actions(
        task.spec, lumped=not remembers and not getattr(task, "judges_tokens", False)
    )


def enumerate_actions(spec: Spec, lumped: bool = True) -> Actions:
    """Returns all actions.

    Args:
      lumped: whether all actions with a token outside of the task's choices are one action, which
        is right where they have the same outcome.

    Raises: ConfigError if there are too many.
    """
    choices = {t for t in (spec.choices if lumped else range(tokens.VOCABULARY)) if t != spec.end}
    _check_count(spec, len(choices))
    prefixes = _prefixes(spec, sorted(choices))
    prefix_number = {prefix: i for i, prefix in enumerate(prefixes)}
    others = [t for t in range(tokens.VOCABULARY) if t not in choices and t != spec.end]
    illegal = (others[0],) if lumped else ()
    action_number = {illegal: 0} if lumped else {}
    child = np.zeros((len(prefixes), tokens.VOCABULARY), int)
    for i, prefix in enumerate(prefixes):
        for token in range(tokens.VOCABULARY):
            written = prefix + (token,) if token in choices or token == spec.end else illegal
            if written in prefix_number:
                child[i, token] = -prefix_number[written] - 1
            else:
                child[i, token] = action_number.setdefault(written, len(action_number))
    # Prefixes were counted from -1 downwards: their places stand after those of the actions.
    child = np.where(child < 0, len(action_number) - child - 1, child)
    length = np.array([len(prefix) for prefix in prefixes])
    return Actions(_padded(action_number, spec), _padded(prefixes, spec), length, child)


def _check_count(spec: Spec, num_choices: int) -> None:
    count = sum(num_choices**a for a in range(spec.action_length + 1))
    check(
        count <= MOST_ACTIONS,
        f"There are {count:,} actions of up to {spec.action_length} tokens, and {MOST_ACTIONS:,} at"
        " most can be enumerated: ask for a task with shorter actions, or use --values forks.",
    )


def _prefixes(spec: Spec, choices: list[int]) -> list[tuple[int, ...]]:
    """Returns all beginnings of an action that do not end it, from the longest to the empty one."""
    prefixes = [()]
    for length in range(spec.action_length - 1):
        shorter = [p for p in prefixes if len(p) == length]
        prefixes += [p + (t,) for p in shorter for t in choices]
    return prefixes[::-1]


def _padded(sequences, spec: Spec) -> Int[np.ndarray, "S A"]:
    padding = [tokens.PAD] * spec.action_length
    return np.array([[*s, *padding[len(s) :]] for s in sequences], np.int32)
