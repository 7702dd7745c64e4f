"""Programs that people run, and what they are made of. Only here is anything printed.

The files on top are the commands: `python -m experiments.train --help`.
"""
