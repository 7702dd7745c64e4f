"""The terminal: flags and their mistakes, progress lines, interruptions, resumed runs, tables."""
