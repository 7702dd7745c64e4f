"""The building blocks that several tasks share. No file in this folder is a task itself.

They are random graphs, square grids, exact planning, ids of states, and tasks of a single turn.
"""
