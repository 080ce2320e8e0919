"""Searches: settings proposed by a sampler, trained in packs, stopped early, confirmed afresh."""
