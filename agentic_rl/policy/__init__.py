"""The policy: a small transformer written from scratch, the layout of the tokens that it reads, and
the sampler that acts with it.

Tasks, rewards and credit are unknown in this folder.
"""
