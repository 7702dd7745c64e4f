"""Programs that people run: `python -m experiments.<name> --help`. Only here is anything printed."""
