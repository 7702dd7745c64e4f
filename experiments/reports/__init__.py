"""From records to what people read: intervals and tests, verdicts, tables, figures and pages.

Nothing here trains or plays: everything is made from records, which are lines of a CSV.
"""
