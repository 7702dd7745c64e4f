"""The studies: one question each, with a claim that was written before the run, and a verdict.

Each file is a program (`python -m experiments.studies.half_life --help`), and its class is the
study's configuration.
"""
