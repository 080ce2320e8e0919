"""Judges hypotheses over runs that exist: conditions make arms, blocks pair runs, both checked."""
