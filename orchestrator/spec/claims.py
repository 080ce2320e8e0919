"""What follows from a claim alone: its test, its unit of chance, and what it is corrected with."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Literal, NamedTuple

from orchestrator.spec.schema import AblationSpec, Design, Hypothesis, Look

Test = Literal["sign_flip", "boschloo", "log_rank", "tost", "tost_shares", "tost_contrast"]

TEST_NAMES: Mapping[Test, str] = {
    "sign_flip": "exact sign-flip",
    "boschloo": "Boschloo's exact",
    "log_rank": "log-rank permutation",
    "tost": "two one-sided t tests",
    "tost_shares": "two one-sided exact tests of shares",
    "tost_contrast": "two one-sided Clopper–Pearson tests",
}


class Correction(NamedTuple):
    """Hypotheses whose p-values are adjusted together.

    Attributes:
        method: Holm's family-wise one, or Benjamini and Hochberg's for exploratory tables.
        family: its name in the file; ``exploratory`` for the exploratory ones.
        names: the hypotheses, in the order of the file.
    """

    method: Literal["Holm", "Benjamini–Hochberg"]
    family: str
    names: tuple[str, ...]


def is_share(outcome: str) -> bool:
    """Whether an outcome is an event that a run has or has not."""
    return outcome in ("collapsed", "diverged")


def choose_test(hypothesis: Hypothesis, design: Design = "factorial") -> Test:
    """The test a hypothesis is decided by.

    A difference of differences, and a main effect averaged over a fraction, are taken per seed.
    """
    compound = hypothesis.interaction is not None or design == "fractional"
    if hypothesis.direction == "none":
        if not is_share(hypothesis.outcome):
            return "tost"
        return "tost_contrast" if compound else "tost_shares"
    if compound:
        return "sign_flip"
    if is_share(hypothesis.outcome):
        return "boschloo"
    return "log_rank" if hypothesis.outcome == "escape_step" else "sign_flip"


def sign_of(hypothesis: Hypothesis) -> int:
    """-1 where the claim says that the outcome decreases, else +1."""
    return -1 if hypothesis.direction == "decrease" else 1


def families_of(spec: AblationSpec) -> dict[str, list[str]]:
    """Family → the confirmatory hypotheses corrected together, in the order of the file."""
    families = defaultdict(list)
    for name, hypothesis in spec.hypotheses.items():
        if not hypothesis.exploratory:
            families[hypothesis.family].append(name)
    return dict(families)


def corrections_of(spec: AblationSpec) -> tuple[Correction, ...]:
    """Every hypothesis in the correction it belongs to; the exploratory ones share the last."""
    found = [
        Correction("Holm", family, tuple(names)) for family, names in families_of(spec).items()
    ]
    exploratory = tuple(name for name, h in spec.hypotheses.items() if h.exploratory)
    if exploratory:
        found.append(Correction("Benjamini–Hochberg", "exploratory", exploratory))
    return tuple(found)


def looks_of(spec: AblationSpec) -> tuple[Look, ...]:
    """The looks at the runs; one at the end where the file plans none."""
    return spec.looks or (Look(seeds=len(spec.seeds), alpha=spec.alpha),)
