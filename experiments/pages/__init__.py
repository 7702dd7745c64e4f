"""The programs that write generated pages: docs/bias.md, docs/tasks.md, docs/algorithms.md.

`studies_page` writes the page on all studies, for `experiments.reproduce`.
"""
