"""Statistics on arrays: effects, intervals, p-values, power and what a run counts as."""

from decoder.faces import lazy_face

__getattr__, __dir__, __all__ = lazy_face(
    __name__,
    {
        "effects": (
            "EXACT_LOG_RANK",
            "EXACT_SIGN_FLIPS",
            "Floats",
            "Interval",
            "Pairing",
            "benjamini_hochberg",
            "holm",
            "t_quantile",
        ),
        "power": ("Outlook", "POWER", "outlook", "power_paired"),
        "power_forecast": ("PowerForecast", "forecast_power"),
        "rank_agreement": (
            "Agreement",
            "FEWEST_BLOCKS",
            "FEWEST_UNITS",
            "between_units",
            "within_groups",
        ),
        "reach": ("adjustment", "cautions", "first_seeds", "untestable"),
        "run_values": (
            "Bools",
            "COUNTED",
            "DIVERGED_PER",
            "ENDINGS",
            "counted_values",
            "learned_nothing",
            "least_budget",
        ),
        "shares": (
            "Share",
            "boschloo",
            "contrast_bounds",
            "share_bounds",
            "share_contrast",
            "share_contrast_p",
            "share_contrast_tost",
            "share_difference",
            "share_tost",
        ),
    },
)
