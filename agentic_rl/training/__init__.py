"""Training: from episodes to a batch with credit, one update, the programs compiled for all
devices, and a whole run. What a run leaves on disk is the matter of `records`.
"""
