"""From records to what people read: intervals and tests, verdicts, tables, figures and HTML pages."""
