"""The exact truth about a policy on a task: the graph of states, values by backward induction, and
the true advantage of each token.

Methods are measured against it; only the value source `exact` and the algorithm `oracle` may use
it to learn.
"""
