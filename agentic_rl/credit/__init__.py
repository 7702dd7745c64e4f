"""What credit each action gets: the second of the two cells in which supervised learning and reinforcement learning differ.

A credit assignment is a config with `__call__(trajectory, value) -> credit`, the weight of each action's log-likelihood in the
loss: [N, G, T] if all tokens of a turn share it, else [N, G, T, A]. In reinforcement learning it estimates the advantage; the
word is wider, because imitation's weight is not an advantage. Credit sees the whole batch and no network, and what is masked
must not change it. A class that needs more than rewards says so, by inheriting from `Credit` and overriding its attributes.
"""

from typing import ClassVar


class Credit:
    """What a credit assignment needs; the least there is."""

    min_attempts: ClassVar[int] = 1  # at each problem
    reads_value: ClassVar[bool] = False
    reads_sampler: ClassVar[bool] = False  # the probabilities that the acting policy gave
    whiten: ClassVar[bool] = False  # normalised over the batch's tokens
    tells_outcome: ClassVar[bool] = (
        False  # failed episodes are trained on under a prompt that says so
    )
