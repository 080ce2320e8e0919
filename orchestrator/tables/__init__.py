"""Tidy tables of runs, from records and histories, and an index of all recorded runs."""
