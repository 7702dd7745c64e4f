"""The streams of random numbers of a run, each of which is folded into the run's key first."""

INIT, PLAY, SHUFFLE, DEMONSTRATE, EVALUATE, VALUES = range(6)
