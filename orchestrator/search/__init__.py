"""Searches for the best settings: a sampler proposes candidates, the worst are stopped early, the
best are confirmed on fresh seeds.

In every module `loaded` is the search file, `results` the ledger and folders of searches,
`studies` one study for each arm in the order of the file, `winners` the best candidates of all
arms, and `candidates` the table of candidates. `say` receives remarks, such as one line for each
record that cannot be trusted.
"""

from decoder.faces import lazy_face

__getattr__, __dir__, __all__ = lazy_face(
    __name__,
    {
        "confirmation": ("is_confirmed",),
        "database_url": ("database_errors",),
        "driver": ("SearchOutcome", "run_search"),
        "forecast": ("SearchForecast", "forecast_search"),
        "kept": ("asked_search", "count_states", "named_search", "search_progress"),
        "load": ("LoadedSearch", "load_search"),
        "rebuild": ("RebuiltSearch", "rebuild_search"),
        "schema": ("SECONDS", "SearchSpec"),
        "study": ("open_studies",),
    },
)
