"""What all studies share: cells that are measured, kept and resumed, and the two kinds of study:
those that train policies side by side, and those that score credits on test beds.
"""
