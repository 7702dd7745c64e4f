"""Playing episodes: who acts, the loop of turns on the device, playing on from a state, evaluation,
and episodes as text.

Nothing here learns: what is made of an episode is the business of `credit`, `losses` and
`training`.
"""
