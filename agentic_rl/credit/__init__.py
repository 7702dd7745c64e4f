"""What credit each action gets: the second of the two cells in which supervised learning and reinforcement learning differ.

A credit assignment is a config with `__call__(trajectory, value) -> credit`, the weight of each action's log-likelihood in the
loss: [N, G, T] if all tokens of a turn share it, else [N, G, T, A]. In reinforcement learning it estimates the advantage; the
word is wider, because imitation's weight is not an advantage. Credit sees the whole batch and no network, and what is masked
must not change it. Class attributes say what it needs: `min_attempts` at each problem, and whether it reads `value`.
"""
