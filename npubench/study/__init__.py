"""The loops: run, compare, sweep."""
