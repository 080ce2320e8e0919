"""Verdicts on hypotheses, success criteria, controls and effects of changes, from the tables."""
