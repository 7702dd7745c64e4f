"""The streams of random numbers of a run: each is folded into the run's key before anything else."""

INIT, PLAY, SHUFFLE, DEMONSTRATE, EVALUATE, VALUES = range(6)
