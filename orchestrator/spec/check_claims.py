"""Finds mistakes in hypotheses, looks and criteria."""

import itertools
from collections.abc import Collection, Iterable, Set

from decoder.config import config_paths
from orchestrator.spec.claims import is_equivalence, is_share
from orchestrator.spec.names import hint
from orchestrator.spec.schema import AblationSpec, Contrast, Criterion, Hypothesis
from orchestrator.spec.units import RATES

# Kind of criterion → the keys it takes; all but `statistic` are required.
_COMPANIONS: dict[str, tuple[str, ...]] = {
    "below": ("metric", "statistic"),
    "above": ("metric", "statistic"),
    "reaches": ("metric", "before_step"),
    "within": ("metric", "of"),
    "never": (),
}
_SPENDING_ROUNDING = 1e-9
_MOST_LOOKS = 100


def claim_problems(spec: AblationSpec, broken: Set[str]) -> Iterable[str]:
    """Complaints about hypotheses, looks, priors and criteria that can be found without the arms.

    Args:
        spec: the ablation, or its sound parts.
        broken: malformed factors, see `orchestrator.spec.check_file.find_problems`.
    """
    for name, hypothesis in spec.hypotheses.items():
        yield from _check_hypothesis(spec, f"hypotheses.{name}", hypothesis, broken)
    yield from _check_steps(spec)
    yield from _check_looks(spec)
    for outcome, value in spec.prior.items():
        if is_share(outcome) and value >= 1:
            yield (
                f"prior.{outcome}: must be a share of runs below 1, but got {value:g}; for one run "
                "in ten write 0.1"
            )
    for name, criterion in spec.criteria.items():
        yield from _check_criterion(f"criteria.{name}", criterion)


def check_criteria_arms(spec: AblationSpec, arm_ids: Collection[str]) -> Iterable[str]:
    """Complaints about criteria for arms that do not exist."""
    for name, criterion in spec.criteria.items():
        for arm_id in criterion.arms or ():
            if arm_id not in arm_ids:
                yield f"criteria.{name}.arms: '{arm_id}' is not an arm{hint(arm_id, arm_ids)}"


def check_level(
    spec: AblationSpec, where: str, factor: str, level: str, broken: Set[str]
) -> Iterable[str]:
    """A complaint if the factor or its level does not exist; none about malformed factors."""
    if broken & {factor, "*"}:
        return
    if factor not in spec.factors:
        mend = hint(factor, spec.factors)
        if factor in config_paths():
            mend = "; it is a config path: set it in a level of a factor, or in 'extra_arms'"
        yield f"{where}: '{factor}' is not a factor{mend}"
    elif level not in spec.factors[factor]:
        mend = hint(level, spec.factors[factor])
        yield f"{where}: '{level}' is not a level of factor '{factor}'{mend}"


def _check_hypothesis(
    spec: AblationSpec, where: str, hypothesis: Hypothesis, broken: Set[str]
) -> Iterable[str]:
    contrast, other = hypothesis.contrast, hypothesis.interaction
    yield from _check_contrast(spec, f"{where}.contrast", contrast, broken)
    compared = {contrast.factor}
    if other is not None:
        yield from _check_contrast(spec, f"{where}.interaction", other, broken)
        if other.factor == contrast.factor:
            yield (
                f"{where}.interaction: varies '{other.factor}', as the contrast does; an "
                "interaction needs a second factor"
            )
        compared.add(other.factor)
    for factor, level in hypothesis.where.items():
        yield from check_level(spec, f"{where}.where", factor, level, broken)
        if factor in compared:
            part = "contrast" if factor == contrast.factor else "interaction"
            yield f"{where}.where: sets '{factor}', which the {part} varies; leave it out"
    missing = [f for f in spec.factors if f not in compared and f not in hypothesis.where]
    if missing and compared <= set(spec.factors) and spec.design == "factorial":
        yield (
            f"{where}.where: must name the level of every other factor, but {_names(missing)} "
            f"missing; add for example {missing[0]}: {next(iter(spec.factors[missing[0]]), '…')}"
        )
    if hypothesis.test == "exact" and is_equivalence(hypothesis):
        yield (f"{where}.test: a claim of no difference has no permutation test; leave 'test' out")
    if hypothesis.outcome in RATES and hypothesis.margin >= 1:
        yield (
            f"{where}.margin: must be below 1 for outcome '{hypothesis.outcome}', which is a rate "
            f"and not in percent, but got {hypothesis.margin:g}; write 2 percentage points as 0.02"
        )


def _check_steps(spec: AblationSpec) -> Iterable[str]:
    """Complaints about seeds in steps."""
    steps = spec.seed_steps
    if steps is None:
        return
    as_list = f"[1, 2, ..., {steps.max}]"
    if steps.start >= steps.max:
        yield (
            f"seeds.start: must be below max ({steps.max}), but got {steps.start}, so no arm "
            f"could stop early; raise max, or list the seeds: {as_list}"
        )
    elif (n_looks := len(steps.at)) > _MOST_LOOKS:
        yield (
            f"seeds.step: {steps.step} makes {n_looks} looks from {steps.start} to {steps.max} "
            f"seeds, but at most {_MOST_LOOKS} are allowed; use a larger step, for example "
            f"{-(-(steps.max - steps.start) // (_MOST_LOOKS - 1))}"
        )
    if spec.looks:
        yield (
            "looks: seeds in steps plan their own looks (at "
            f"{', '.join(map(str, steps.at[:3]))}, ... seeds); leave 'looks' out, or list the "
            f"seeds: {as_list}"
        )
    if not spec.hypotheses:
        yield (
            "seeds: are trained in steps until every claim is decided, but 'hypotheses' has none; "
            f"state one, or list the seeds: {as_list}"
        )
    if spec.greedy is not None:
        yield (
            "seeds: cannot be trained in steps beside 'greedy', which compares arms on all their "
            f"seeds; leave 'greedy' out, or list the seeds: {as_list}"
        )


def _check_looks(spec: AblationSpec) -> Iterable[str]:
    if not spec.looks or spec.seed_steps is not None:
        return
    at = [look.seeds for look in spec.looks]
    if any(later <= earlier for earlier, later in itertools.pairwise(at)):
        yield f"looks: their numbers of seeds must increase, but got {at}; order them"
    if spec.seeds and at[-1] != len(spec.seeds):
        yield (
            f"looks: the last look must use all {len(spec.seeds)} seeds, but uses {at[-1]}; "
            f"write seeds: {len(spec.seeds)} there, or change 'seeds'"
        )
    spent = sum(look.alpha for look in spec.looks)
    if spent > spec.alpha + _SPENDING_ROUNDING:
        yield (
            f"looks: together they spend an alpha of {spent:g}, but the file's 'alpha' allows "
            f"{spec.alpha:g}; lower one"
        )


def _check_criterion(where: str, criterion: Criterion) -> Iterable[str]:
    given = [name for name, value in criterion if value is not None and name != "arms"]
    kinds = [name for name in given if name in _COMPANIONS]
    if len(kinds) != 1:
        got = " and ".join(kinds) or "none"
        yield f"{where}: must have exactly one of {', '.join(_COMPANIONS)}, but got {got}"
        return
    kind = kinds[0]
    allowed = _COMPANIONS[kind]
    for name in given:
        if name not in (kind, *allowed):
            keys = f", which takes {', '.join(allowed)}" if allowed else ""
            yield f"{where}.{name}: cannot be used with '{kind}'{keys}; leave it out"
    for name in allowed:
        if name not in given and name != "statistic":
            yield f"{where}: '{kind}' needs '{name}', which is missing; add it"


def _names(names: list[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return f"{quoted[0]} is" if len(quoted) == 1 else f"{', '.join(quoted)} are"


def _check_contrast(
    spec: AblationSpec, where: str, contrast: Contrast, broken: Set[str]
) -> Iterable[str]:
    if contrast.from_level == contrast.to_level:
        yield (
            f"{where}: 'from' and 'to' are both '{contrast.to_level}'; "
            "a contrast needs two different levels"
        )
    levels = dict.fromkeys((contrast.from_level, contrast.to_level))
    if contrast.factor not in spec.factors:
        levels = {contrast.to_level: None}  # one complaint is enough
    for level in levels:
        yield from check_level(spec, where, contrast.factor, level, broken)
