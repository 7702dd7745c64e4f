"""Measurements against the truth: test beds of one policy with the true advantage of every token,
the quality of a credit, exact expectations of an update by enumeration, and policies to measure
on.
"""
