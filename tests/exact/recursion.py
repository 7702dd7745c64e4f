"""A recursion in plain numpy over all that can be written and happen."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from agentic_rl import tokens
from agentic_rl.policy import transformer
from tests.exact.cases import CASES, wide
from tests.toys import compiled


@cache
def follower(task):
    """Returns a function from a state and actions [E, A] to all their outcomes.

    These are chances [E, M], states and steps [E, M, ...].
    """

    def outcomes(state, action):
        if hasattr(task, "outcomes"):
            return task.outcomes(state, action)
        return jnp.ones(1), *jax.tree.map(
            lambda x: x[None], task.step(jax.random.key(0), state, action)
        )

    return compiled(jax.vmap(outcomes, (None, 0)))


@cache
def reader(task, policy_config):
    """Returns a function to the probabilities of tokens [B, T, A, V], in one pass over episodes."""
    return compiled(
        lambda params, token, valid: jax.nn.softmax(
            transformer.apply(policy_config, params, task.spec, token, valid)[0]
        )
    )


class Recursion:
    """A recursion from one state to the next over all sequences of all 64 tokens, none lumped.

    Its sums have two parts: the return, and how often each turn is played.
    """

    def __init__(self, task, policy_config, params):
        self.task, self.policy_config, self.params, self.known = task, policy_config, params, {}
        width = task.spec.action_length
        self.shape = (tokens.VOCABULARY,) * width
        written = np.stack(np.indices(self.shape), axis=-1).reshape(-1, width)
        self.action = np.where(after_end(written), tokens.PAD, written).astype(np.int32)
        self.prefix = written[:: tokens.VOCABULARY]
        self.follow, self.read = follower(task), reader(task, policy_config)

    def choose(self, past, observation):
        """Returns the probabilities of next tokens, [V], [V, V], ... after 0, 1, ... tokens."""
        spec, turn = (
            self.task.spec,
            (len(past) - self.task.spec.prompt_length)
            // (self.task.spec.observation_length + len(self.shape)),
        )
        token = np.zeros((len(self.prefix), spec.context_length), int)
        written = np.concatenate(
            [np.tile([*past, *observation], (len(self.prefix), 1)), self.prefix], axis=1
        )
        token[:, : written.shape[1]] = written
        chance = np.asarray(self.read(self.params, token, np.ones_like(token, bool)))[:, turn]
        chance = chance.reshape(*self.shape[1:], len(self.shape), -1)
        return [
            chance[(slice(None),) * a + (0,) * (len(self.shape) - 1 - a) + (a,)]
            for a in range(len(self.shape))
        ]

    def expect(self, past, state, observation):
        """Returns the expected sums after each prefix of the next action.

        Their shapes are [1 + T], [V, 1 + T], [V, V, 1 + T], ...
        """
        turn = int(state.turn)
        remembered = (
            tuple(past)
            if self.policy_config.context == "history"
            else tuple(past[: self.task.spec.prompt_length])
        )
        name = (remembered, turn, mark(state, observation).tobytes())
        if name not in self.known:
            chance, later, step = jax.device_get(self.follow(state, self.action))
            gain = np.zeros((*chance.shape, 1 + self.task.spec.num_turns))
            gain[..., 0], gain[..., 1 + turn] = step.reward, 1.0
            for e, m in self.distinct(chance, later, step):
                then = jax.tree.map(lambda x: x[e[0], m[0]], later)
                seen = step.observation[e[0], m[0]]
                gain[e, m] += self.expect([*past, *observation, *self.action[e[0]]], then, seen)[0]
            sums = [(chance[..., None] * gain).sum(1).reshape(*self.shape, -1)]
            for p in reversed(self.choose(past, observation)):
                sums.append((p[..., None] * sums[-1]).sum(-2))
            self.known[name] = sums[::-1]
        return self.known[name]

    def distinct(self, chance, later, step):
        """Returns the actions and outcomes that lead to each state from which the episode goes on.

        For a policy with memory the states after different actions are different.
        """
        e, m = np.nonzero((chance > 0) & ~step.done)
        identities = np.concatenate(
            [
                np.reshape(x[e, m], (len(e), x[0, 0].size))
                for x in jax.tree.leaves((later, step.observation))
            ],
            axis=1,
        )
        identities = np.concatenate(
            [identities, e[:, None] * (self.policy_config.context == "history")], axis=1
        )
        _, which = np.unique(
            identities @ np.random.default_rng(0).normal(size=identities.shape[1]),
            return_inverse=True,
        )
        return [(e[which == i], m[which == i]) for i in range(which.max(initial=-1) + 1)]


def after_end(action):
    """Returns True where an earlier token of the action is END."""
    ends = action == tokens.END
    return np.cumsum(ends, axis=-1) - ends > 0


def mark(*trees):
    return np.concatenate([np.ravel(x).astype(float) for x in jax.tree.leaves(trees)])


def at(tree, *index):
    return jax.tree.map(lambda x: np.asarray(x)[index], tree)


@cache
def recursion(case):
    task, policy_config, _ = CASES[case]
    return Recursion(task, policy_config, wide(task, policy_config))


def past_of(one, turn):
    """Returns the tokens of an episode before the observation of a turn."""
    return [*one.prompt, *np.concatenate([one.observation, one.action], axis=1)[:turn].ravel()]
