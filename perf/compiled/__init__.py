"""Compiled forwards measured: `python -m perf.compiled`."""
