"""The tasks. Each file of this folder is one task, and its class name in snake_case is the task's name on the command line.

`parts` holds what several tasks are built of, `wrappers` tasks that are made of other tasks.
"""
