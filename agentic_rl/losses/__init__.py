"""What an update minimises, as functions of arrays: surrogates of the objective, KL penalties,
entropy and value losses, token weights.
"""
