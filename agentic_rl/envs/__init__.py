"""The tasks, one file each. A class name in snake_case is the task's name on the command line.

`parts` holds what several tasks are built from, and `wrappers` holds tasks made from other tasks.
"""
