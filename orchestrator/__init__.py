"""Ablations over speech-BCI decoders: a YAML question, packs of runs, a verdict."""
