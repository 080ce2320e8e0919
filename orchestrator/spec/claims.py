"""What a claim determines: its test, its direction, and the claims it is corrected with."""

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

from orchestrator.spec.schema import AblationSpec, Design, Hypothesis, Look

Test = Literal[
    "studentized",
    "sign_flip",
    "log_rank",
    "boschloo",
    "share_contrast",
    "tost",
    "tost_shares",
    "tost_contrast",
]

TEST_NAMES: Mapping[Test, str] = {
    "studentized": "skewness-corrected paired t",
    "sign_flip": "exact sign-flip",
    "log_rank": "log-rank permutation",
    "boschloo": "Boschloo's exact",
    "share_contrast": "Clopper–Pearson contrast",
    "tost": "two one-sided t tests",
    "tost_shares": "two one-sided exact tests of shares",
    "tost_contrast": "two one-sided Clopper–Pearson tests",
}


class Correction(NamedTuple):
    """Hypotheses whose p-values are adjusted together.

    Attributes:
        method: Holm's for confirmatory claims, or Benjamini and Hochberg's for exploratory ones.
        family: its name in the file; ``exploratory`` for exploratory claims.
        names: the hypotheses, in the order of the file.
    """

    method: Literal["Holm", "Benjamini–Hochberg"]
    family: str
    names: tuple[str, ...]


def is_share(outcome: str) -> bool:
    """Whether an outcome is an event, so that its effect is a difference of shares of runs."""
    return outcome in ("collapsed", "diverged")


def is_value(outcome: str) -> bool:
    """Whether an outcome is the value of a metric, neither an event nor a number of steps."""
    return not is_share(outcome) and outcome != "escape_step"


def is_equivalence(hypothesis: Hypothesis) -> bool:
    """Whether the claim is that there is no difference as large as the margin."""
    return hypothesis.direction == "no_difference"


def choose_test(hypothesis: Hypothesis, design: Design = "factorial") -> Test:
    """The test that decides a hypothesis.

    A difference of differences, and a main effect averaged over a fraction, are computed per seed
    and tested as paired differences; of shares of runs, as a weighted sum of independent shares.
    """
    if is_equivalence(hypothesis) or hypothesis.test == "exact":
        return exact_test(hypothesis, design)
    if not is_share(hypothesis.outcome):
        return "studentized"
    return "share_contrast" if _is_compound(hypothesis, design) else "boschloo"


def exact_test(hypothesis: Hypothesis, design: Design = "factorial") -> Test:
    """The exact test of a hypothesis; claims locked before there were studentized tests keep it.

    Equivalence claims have the same test in either case.
    """
    compound = _is_compound(hypothesis, design)
    if is_equivalence(hypothesis):
        if not is_share(hypothesis.outcome):
            return "tost"
        return "tost_contrast" if compound else "tost_shares"
    if compound:
        return "sign_flip"
    if is_share(hypothesis.outcome):
        return "boschloo"
    return "log_rank" if hypothesis.outcome == "escape_step" else "sign_flip"


def _is_compound(hypothesis: Hypothesis, design: Design) -> bool:
    """Whether the effect combines more than two arms."""
    return hypothesis.interaction is not None or design == "fractional"


def sign_of(hypothesis: Hypothesis) -> int:
    """-1 if the claim is that the outcome decreases, else +1."""
    return -1 if hypothesis.direction == "decrease" else 1


def families_of(spec: AblationSpec) -> dict[str, list[str]]:
    """Family → its confirmatory hypotheses, in the order of the file."""
    families = defaultdict(list)
    for name, hypothesis in spec.hypotheses.items():
        if not hypothesis.exploratory:
            families[hypothesis.family].append(name)
    return dict(families)


def largest_family(spec: AblationSpec) -> int:
    """The most claims that are corrected together; at least 1."""
    families = families_of(spec).values() or [spec.hypotheses]
    return max(1, *map(len, families))


def corrections_of(spec: AblationSpec) -> tuple[Correction, ...]:
    """The corrections of an ablation: one per family, then one for all exploratory claims."""
    found = [
        Correction("Holm", family, tuple(names)) for family, names in families_of(spec).items()
    ]
    exploratory = tuple(name for name, h in spec.hypotheses.items() if h.exploratory)
    if exploratory:
        found.append(Correction("Benjamini–Hochberg", "exploratory", exploratory))
    return tuple(found)


def shares_bounds(spec: AblationSpec) -> bool:
    """Whether the claims of a family share the error of the bounds that refute: seeds in steps."""
    return spec.seed_steps is not None and not spec.looks


BOUND_ERROR = 0.05  # error of the one-sided bound that refutes


def bound_error(spec: AblationSpec, look: Look) -> float:
    """Error of each one-sided bound at a look; listed looks share it as they share alpha.

    If seeds are trained in steps, the claims of a family share it as well, by Holm's method.
    """
    if shares_bounds(spec):
        assert spec.seed_steps is not None
        # As bounds on both sides, of which one can refute.
        levels = zip(spec.seed_steps.at, _levels(spec, 2 * BOUND_ERROR), strict=True)
        return dict(levels)[look.seeds] / 2
    return BOUND_ERROR * look.alpha / spec.alpha if spec.looks else BOUND_ERROR


def looks_of(spec: AblationSpec) -> tuple[Look, ...]:
    """The planned looks: those listed, those of seeds in steps, or one at the end."""
    if spec.seed_steps is None or spec.looks:
        return spec.looks or (Look(seeds=len(spec.seeds), alpha=spec.alpha),)
    return _looks_at(spec.seed_steps.at, _levels(spec, spec.alpha))


@lru_cache(maxsize=64)
def _looks_at(seeds: tuple[int, ...], levels: tuple[float, ...]) -> tuple[Look, ...]:
    return tuple(Look(seeds=n, alpha=level) for n, level in zip(seeds, levels, strict=True))


def _levels(spec: AblationSpec, error: float) -> tuple[float, ...]:
    """The levels of the looks of seeds in steps, for its largest family; see `look_levels`."""
    from orchestrator.spec.spending import look_levels  # SciPy loads slowly

    assert spec.seed_steps is not None
    return look_levels(spec.seed_steps.at, error, largest_family(spec))


def look_seeds(spec: AblationSpec) -> tuple[int, ...]:
    """The number of seeds at each of `looks_of`."""
    if spec.seed_steps is not None and not spec.looks:
        return spec.seed_steps.at  # without the levels, which SciPy computes
    return tuple(look.seeds for look in looks_of(spec))


def plans_looks(spec: AblationSpec) -> bool:
    """Whether claims are tested before all seeds are trained."""
    return bool(spec.looks) or spec.seed_steps is not None


def stops_early(spec: AblationSpec) -> bool:
    """Whether arms that no open claim needs are trained with no further seeds.

    A greedy path is chosen by all seeds of every arm, so it is trained as a whole.
    """
    return plans_looks(spec) and bool(spec.hypotheses) and spec.greedy is None
