"""Claims for tests that are not about their wording."""

from typing import Any


def claim(**changes: Any) -> dict[str, Any]:
    """A hypothesis as a file has it: the mean loss raises PER by five points; with changes."""
    return {
        "claim": "The mean is worse.",
        "contrast": {"factor": "loss", "from": "sum", "to": "mean"},
        "outcome": "per",
        "direction": "increase",
        "margin": 0.05,
        **changes,
    }
