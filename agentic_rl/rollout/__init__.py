"""Playing episodes: who acts, the loop of turns, playing on from a state, evaluation, transcripts.

Nothing in this folder learns; `credit`, `losses` and `training` do.
"""
