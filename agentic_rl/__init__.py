"""Supervised learning and reinforcement learning as one loop that differs in two cells: who acts, and what credit each action gets."""

__version__ = "0.2.0"
