"""The exact truth about a policy on a task: all actions, the graph of states, values by backward
induction, and the true advantage of each token.

Estimators are measured against it. Only the value source `exact` and the algorithm `oracle` may
learn from it.
"""
