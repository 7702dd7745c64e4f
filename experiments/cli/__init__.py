"""What a user meets at the terminal.

Flags and what is wrong with them, progress, interruptions, continued runs, and printed tables.
Nothing here trains or measures.
"""
