"""Supervised and reinforcement learning of small agents as one loop.

An algorithm says who acts, and how much credit each action gets; the rest is shared.
"""

__version__ = "0.2.0"
