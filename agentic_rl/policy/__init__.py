"""The policy: a small transformer written from scratch, the layout of the tokens that it reads, and
the sampler that acts with it.

What an episode means, which task it is of and how it is rewarded is unknown here.
"""
