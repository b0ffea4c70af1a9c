"""Owns the machines, commits their rows, wakes them, and sweeps what is dead."""
