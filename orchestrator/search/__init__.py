"""Searches for the best settings: a sampler proposes candidates, the worst are stopped early, the
best are confirmed on fresh seeds.
"""
