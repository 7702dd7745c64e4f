"""A user's own questions and answers as a task.

They come from a file of JSON lines, or from a generator of the reasoning-gym package.
"""
