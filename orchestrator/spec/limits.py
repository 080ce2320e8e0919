"""How much one file may ask for. Each limit is far above any use; it is checked before work begins.

An ablation of 10,000 runs is the largest that is meant to work well.
"""

import math
from collections.abc import Iterable

from orchestrator.spec.cells import n_design_arms
from orchestrator.spec.schema import AblationSpec

MOST_ARMS = 20_000  # of a design
MOST_RUNS = 100_000
_MOST_GREEDY = 60  # factors: its path trains 1,830 arms
_MOST_COMPARISONS = 4_000_000  # of arms with claims and with entries of include and exclude


def check_counts(spec: AblationSpec) -> Iterable[str]:
    """Complaints about designs that are too large to be made.

    Raises:
        ConfigError: the fraction of a ``fractional`` design cannot be made.
    """
    if spec.greedy is not None and len(spec.factors) > _MOST_GREEDY:
        yield (
            f"greedy: tries every change in every round, and there are {len(spec.factors)}; at "
            f"most {_MOST_GREEDY} factors are allowed; leave 'greedy' out, or leave factors out"
        )
    n_arms = n_design_arms(spec)
    if n_arms > MOST_ARMS:
        shown = f"{n_arms:,}" if math.log10(n_arms) < 15 else f"1e{math.floor(math.log10(n_arms))}"
        yield (
            f"factors: the design has {shown} arms, but at most {MOST_ARMS:,} are allowed; "
            "leave levels out, or use design: one_factor"
        )
        return
    n_runs = (n_arms + len(spec.extra_arms)) * len(spec.seeds)
    if n_runs > MOST_RUNS:
        yield (
            f"seeds: {n_arms + len(spec.extra_arms):,} arms with {len(spec.seeds):,} seeds each "
            f"are {n_runs:,} runs, but at most {MOST_RUNS:,} are allowed; use fewer seeds or levels"
        )
    rules = len(spec.include) + len(spec.exclude)
    for key, n_entries in (("hypotheses", len(spec.hypotheses)), ("exclude", rules)):
        if n_entries * n_arms > _MOST_COMPARISONS:
            yield (
                f"{key}: {n_entries:,} entries for {n_arms:,} arms are too many to compare; at "
                f"most {_MOST_COMPARISONS // n_arms:,} are allowed with so many arms"
            )
