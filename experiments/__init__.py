"""Programs that people run, and what they are made of. Only here is anything printed.

The files on top are the commands, such as `python -m experiments.train --help`. The folders:

    cli/           the terminal: flags, mistakes, progress, interruptions, tables
    own_data/      a user's own questions and answers as a task
    harness/       what all studies and comparisons share: what is trained, measured and kept
    ground_truth/  credit compared with the true advantage
    reports/       tables, figures, verdicts and pages
    studies/       one question each, with a claim and a verdict
    pages/         programs that write docs/
"""
