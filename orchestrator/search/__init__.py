"""Searches for the best settings: candidates are proposed, stopped early, and confirmed."""

from decoder.faces import lazy_face

__all__ = [
    "RebuiltSearch",
    "SECONDS",
    "SearchForecast",
    "SearchOutcome",
    "SearchSpec",
    "forecast_search",
    "load_search",
    "open_studies",
    "rebuild_search",
    "run_search",
    "settings_text",
]

__getattr__, __dir__ = lazy_face(
    __name__,
    {
        "driver": (
            "SearchOutcome",
            "run_search",
        ),
        "forecast": (
            "SearchForecast",
            "forecast_search",
        ),
        "load": ("load_search",),
        "rebuild": (
            "RebuiltSearch",
            "rebuild_search",
        ),
        "report_view": ("settings_text",),
        "schema": (
            "SECONDS",
            "SearchSpec",
        ),
        "study": ("open_studies",),
    },
)
