"""What several tasks are built of: graphs, grids, planners, identities of entities, and tasks of a
single turn. No file here is a task.
"""
