"""The terms of the loss, as functions of arrays: surrogates of the objective, KL penalties, entropy
and value losses, and the weights with which tokens add up.
"""
