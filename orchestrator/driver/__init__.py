"""The driver of an ablation: plan, forecast, train, record, report."""

from decoder.faces import lazy_face

__all__ = [
    "AblationOutcome",
    "Cost",
    "FAILED_FOR_GOOD",
    "GreedyBound",
    "Preview",
    "Prior",
    "SeedChoice",
    "Stopwatch",
    "make_preview",
    "measure_pace",
    "note_other_code",
    "rebuild_report",
    "run_ablation",
]

__getattr__, __dir__ = lazy_face(
    __name__,
    {
        "cost": (
            "Cost",
            "measure_pace",
        ),
        "preview": (
            "GreedyBound",
            "Preview",
            "SeedChoice",
            "make_preview",
        ),
        "priors": ("Prior",),
        "remarks": ("note_other_code",),
        "reporting": ("rebuild_report",),
        "run": (
            "AblationOutcome",
            "FAILED_FOR_GOOD",
            "Stopwatch",
            "run_ablation",
        ),
    },
)
