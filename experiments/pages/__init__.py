"""The programs that write the generated pages of docs/: the bias of estimators, the tasks, and the
variants of each algorithm.
"""
