"""Searches for the best settings: a sampler proposes candidates, the worst are stopped early, the
best are confirmed on fresh seeds.

In every module `loaded` is the search file, `results` the ledger and folders of searches,
`studies` one study for each arm in the order of the file, `winners` the best candidates of all
arms, and `candidates` the table of candidates. `say` receives remarks, such as one line for each
record that cannot be trusted.
"""
