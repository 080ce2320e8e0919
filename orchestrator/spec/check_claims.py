"""What can be wrong with hypotheses, looks and criteria, before and after the arms are known."""

import itertools
from collections.abc import Collection, Iterable, Set

from decoder.complaints import did_you_mean
from decoder.config import config_paths
from orchestrator.spec.claims import is_share
from orchestrator.spec.schema import AblationSpec, Contrast, Criterion, Hypothesis

# kind of criterion → the keys that go with it; the first of them must be there.
_COMPANIONS: dict[str, tuple[str, ...]] = {
    "below": ("metric", "statistic"),
    "above": ("metric", "statistic"),
    "reaches": ("metric", "before_step"),
    "within": ("metric", "of"),
    "never": (),
}
_SPENDING_ROUNDING = 1e-9


def check_claims(spec: AblationSpec, broken: Set[str]) -> list[str]:
    """Complaints about hypotheses, looks and criteria that need no arms.

    Args:
        spec: the ablation, or what could be saved of it.
        broken: factors known to be malformed, see `orchestrator.spec.check_file.find_problems`.
    """
    problems: list[str] = []
    for name, hypothesis in spec.hypotheses.items():
        problems += _check_hypothesis(spec, f"hypotheses.{name}", hypothesis, broken)
    problems += _check_looks(spec)
    problems += [
        f"prior.{outcome}: is the share of runs that end so, below 1, but got {value:g}; one run "
        "in ten is written 0.1"
        for outcome, value in spec.prior.items()
        if is_share(outcome) and value >= 1
    ]
    for name, criterion in spec.criteria.items():
        problems += _check_criterion(f"criteria.{name}", criterion)
    return problems


def check_criteria_arms(spec: AblationSpec, arm_ids: Collection[str]) -> Iterable[str]:
    """Criteria asked of arms that do not exist."""
    for name, criterion in spec.criteria.items():
        for arm_id in criterion.arms or ():
            if arm_id not in arm_ids:
                hint = did_you_mean(arm_id, arm_ids) or _listing(arm_ids)
                yield f"criteria.{name}.arms: '{arm_id}' is no arm{hint}"


def check_level(
    spec: AblationSpec, where: str, factor: str, level: str, broken: Set[str]
) -> Iterable[str]:
    if broken & {factor, "*"}:
        return
    if factor not in spec.factors:
        hint = did_you_mean(factor, spec.factors) or _listing(spec.factors)
        if factor in config_paths():
            hint = "; it is a config field: make it a level of a factor, or set it in 'extra_arms'"
        yield f"{where}: '{factor}' is no factor{hint}"
    elif level not in spec.factors[factor]:
        levels = spec.factors[factor]
        hint = did_you_mean(level, levels) or _listing(levels)
        yield f"{where}: '{level}' is no level of factor '{factor}'{hint}"


def _listing(names: Iterable[str]) -> str:
    return f" (there are: {', '.join(names) or 'none'})"


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
                f"{where}.interaction: is made over '{other.factor}', the factor of the contrast "
                "itself; an interaction needs a second factor"
            )
        compared.add(other.factor)
    for factor, level in hypothesis.where.items():
        yield from check_level(spec, f"{where}.where", factor, level, broken)
        if factor in compared:
            part = "contrast" if factor == contrast.factor else "interaction"
            yield f"{where}.where: names '{factor}', which the {part} varies; leave it out"
    missing = [f for f in spec.factors if f not in compared and f not in hypothesis.where]
    if missing and compared <= set(spec.factors) and spec.design == "factorial":
        yield (
            f"{where}.where: must name the level of every other factor, but {_names(missing)} "
            f"missing; add for instance {missing[0]}: {next(iter(spec.factors[missing[0]]), '…')}"
        )
    if hypothesis.outcome in ("per", "collapsed", "diverged") and hypothesis.margin >= 1:
        yield (
            f"{where}.margin: must be below 1 for outcome '{hypothesis.outcome}', which lies in "
            f"[0, 1], but got {hypothesis.margin:g}; 2 points of PER are written 0.02"
        )


def _check_looks(spec: AblationSpec) -> Iterable[str]:
    if not spec.looks:
        return
    at = [look.seeds for look in spec.looks]
    if any(later <= earlier for earlier, later in itertools.pairwise(at)):
        yield f"looks: must be taken at more and more seeds, but got {at}; order them"
    if spec.seeds and at[-1] != len(spec.seeds):
        yield (
            f"looks: the last one must be taken at all {len(spec.seeds)} seeds, but is taken at "
            f"{at[-1]}; write seeds: {len(spec.seeds)} there, or change 'seeds'"
        )
    spent = sum(look.alpha for look in spec.looks)
    if spent > spec.alpha + _SPENDING_ROUNDING:
        yield (
            f"looks: together spend an alpha of {spent:g}, but at most {spec.alpha:g} is allowed "
            "('alpha' of the file); lower one"
        )


def _check_criterion(where: str, criterion: Criterion) -> Iterable[str]:
    given = [name for name, value in criterion if value is not None and name != "arms"]
    kinds = [name for name in given if name in _COMPANIONS]
    if len(kinds) != 1:
        listing = f"got {' and '.join(kinds)}" if kinds else "there is none"
        yield f"{where}: must have exactly one of {', '.join(_COMPANIONS)}, but {listing}"
        return
    kind = kinds[0]
    allowed = _COMPANIONS[kind]
    for name in given:
        if name not in (kind, *allowed):
            extra = f"; it goes with {', '.join(allowed)}" if allowed else ""
            yield f"{where}.{name}: does not go with '{kind}'{extra}; leave it out"
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
