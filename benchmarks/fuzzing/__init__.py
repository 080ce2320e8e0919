"""Inputs of every kind that a user can hand over, damaged at random, for `benchmarks/fuzz.py`."""
