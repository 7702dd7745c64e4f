"""What credit each action gets: the second choice that separates supervised learning from RL.

A credit is a config with `__call__(trajectory, value) -> credit`: the weight of each action's
log-likelihood in the loss, as [N, G, T] if all tokens of a turn share it, else [N, G, T, A]. In
reinforcement learning it estimates the advantage. The word is wider, because imitation's weight is
not an advantage. A credit sees the whole batch and no network, and masked tokens must not change
it. A class that needs more than rewards inherits from `Credit` and overrides its attributes.
"""

from typing import ClassVar


class Credit:
    """The attributes of a credit, with their defaults."""

    min_attempts: ClassVar[int] = 1  # at each problem
    reads_value: ClassVar[bool] = False
    reads_sampler: ClassVar[bool] = False  # the probabilities that the acting policy gave
    whiten: ClassVar[bool] = False  # normalised over the batch's tokens
    tells_outcome: ClassVar[bool] = False  # failed episodes are trained on under a prompt saying so
