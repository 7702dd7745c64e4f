"""Tasks made of other tasks: the same one under other names, or with a scaffold that asks the policy
in another way.
"""
