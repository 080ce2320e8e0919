"""Recordings: reads, generates, validates and packs them, and draws batches of trials."""
