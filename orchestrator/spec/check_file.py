"""Finds mistakes in an ablation beyond its shape: unknown names, and values that do not fit."""

import itertools
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from pydantic import ValidationError

from decoder.complaints import did_you_mean, explain, yaml_text
from decoder.config import DecoderConfig, config_keys, config_paths, explain_parameter
from decoder.errors import ENOUGH_PROBLEMS, ConfigError
from decoder.field_paths import sections, split_path
from decoder.slips import field_hint
from orchestrator.spec.arms import Arm, CommonConfig, GreedyCandidate, candidate_arm, make_arms
from orchestrator.spec.check_claims import check_criteria_arms, check_level, claim_problems
from orchestrator.spec.check_design import check_design
from orchestrator.spec.check_outcomes import check_own_metrics
from orchestrator.spec.compared import compared_by_name
from orchestrator.spec.configuration import (
    CommandConfig,
    Configuration,
    explain_setting,
    flatten,
    known_paths,
    n_steps_of,
    says_steps,
)
from orchestrator.spec.references import reference
from orchestrator.spec.schema import AblationSpec, Changes

# Stands among the malformed factors for a malformed trainer, of whose settings nothing is known.
BROKEN_TRAINER = "<trainer>"


def find_problems(
    spec: AblationSpec, base: Configuration | None, broken: Set[str]
) -> tuple[tuple[Arm, ...], list[str]]:
    """Check an ablation against its base.

    Args:
        spec: the ablation, or its sound parts.
        base: its base configuration; None if it cannot be read.
        broken: malformed factors, ``*`` for all; references to them cause no complaint.

    Returns:
        The arms, empty if there are complaints; and the complaints.
    """
    cells, design_problems = check_design(spec, broken)
    found = itertools.chain(
        _check_seeds(spec),
        _check_factors(spec, base, broken),
        design_problems,
        _check_changes(spec, base, broken),
        _check_extra_arms(spec, set(cells), broken),
        claim_problems(spec, broken),
    )
    problems = list(itertools.islice(found, ENOUGH_PROBLEMS))
    if not problems and not broken:
        try:
            compared_by_name(spec, cells)
        except ConfigError as error:
            problems += error.problems
    if problems or base is None or broken:
        return (), problems
    try:
        arms = make_arms(spec, base)
    except ConfigError as error:
        return (), list(error.problems)
    problems += [*_check_evaluations(spec, arms), *_check_budgets(spec, arms)]
    problems += _check_greedy(spec, base)
    problems += check_own_metrics(spec, arms)
    problems += check_criteria_arms(spec, [arm.arm_id for arm in arms])
    return arms, problems


def _check_seeds(spec: AblationSpec) -> Iterable[str]:
    if not spec.seeds:
        yield "seeds: must list at least one seed, but got none; write for example [0, 1, 2]"
    seen: set[int] = set()
    for seed in spec.seeds:
        if seed in seen:
            yield f"seeds: {seed} is listed twice; keep one, since a seed is one repetition"
        seen.add(seed)
    for name, extra in spec.extra_arms.items():
        shared = seen & {seed + extra.seed_offset for seed in seen}
        if extra.seed_offset and shared:
            yield (
                f"extra_arms.{name}.seed_offset: {extra.seed_offset} gives seeds that other arms "
                f"have too ({', '.join(map(str, sorted(shared)[:5]))}); use a larger offset, such "
                "as 1000"
            )
        if seen and (last := max(seen) + extra.seed_offset) >= 2**32:
            yield (
                f"extra_arms.{name}.seed_offset: gives seed {last}, but seeds must be below "
                f"{2**32}; use a smaller offset"
            )


def _check_factors(
    spec: AblationSpec, base: Configuration | None, broken: Set[str]
) -> Iterable[str]:
    if not spec.factors and not broken:
        yield (
            "factors: must have at least one factor with two or more levels, but got none; write "
            "for example factors: {learning_rate: {high: {optim.lr_max: 0.005}, low: {...}}}"
        )
    owner: dict[str, str] = {}
    for factor, levels in spec.factors.items():
        if len(levels) < 2 and not broken & {factor, "*"}:
            listing = f"only '{next(iter(levels))}'" if levels else "none"
            yield (
                f"factors.{factor}: must have two or more levels, but got {listing}; "
                "add a level to compare with, or move its values to 'set'"
            )
        for path in dict.fromkeys(path for changes in levels.values() for path in changes):
            if owner.setdefault(path, factor) != factor:
                yield (
                    f"factors.{factor}: sets '{path}', which factor '{owner[path]}' sets too; "
                    "let one factor set it, or their effects cannot be separated"
                )
        if base is not None:
            yield from _check_same_levels(spec, base, factor, levels)


def _check_same_levels(
    spec: AblationSpec, base: Configuration, factor: str, levels: Mapping[str, Changes]
) -> Iterable[str]:
    common = {**flatten(base), **spec.set}
    paths = dict.fromkeys(path for changes in levels.values() for path in changes)
    values = {
        name: [changes.get(path, common.get(path)) for path in paths]
        for name, changes in levels.items()
    }
    first: dict[Any, str] = {}
    for other in levels:
        one = first.setdefault(hashable(values[other]), other)
        if one != other:
            settings = ", ".join(
                f"{p}={yaml_text(v)}" for p, v in zip(paths, values[one], strict=True)
            )
            yield (
                f"factors.{factor}: levels '{one}' and '{other}' set the same values "
                f"({settings or 'none'}); change one of them or leave it out (a path that a "
                "level does not set keeps the base's value)"
            )


def hashable(value: Any) -> Any:
    """A key that is equal for equal JSON values."""
    if isinstance(value, dict):
        return frozenset((key, hashable(one)) for key, one in value.items())
    return tuple(map(hashable, value)) if isinstance(value, list | tuple) else value


def _check_changes(
    spec: AblationSpec, base: Configuration | None, broken: Set[str]
) -> Iterable[str]:
    """Complaints about unknown config paths and values of the wrong type."""
    if base is None and (spec.trainer is not None or BROKEN_TRAINER in broken):
        return  # the settings of a trainer are those of its base
    places = {"set": spec.set}
    for factor, levels in spec.factors.items():
        places |= {f"factors.{factor}.{name}": changes for name, changes in levels.items()}
    places |= {f"extra_arms.{name}.set": extra.set for name, extra in spec.extra_arms.items()}
    known = known_paths(base) if base is not None else tuple(config_paths())
    for where, changes in places.items():
        for path, value in changes.items():
            if isinstance(base, CommandConfig):
                yield from (f"{where}: {text}" for text in explain_setting(base, path, value))
            elif base is None and path.startswith("parts."):
                continue  # what registers it could not be read
            elif path not in known:
                yield f"{where}: {unknown_path(path, known)}"
            else:
                yield from (f"{where}: {text}" for text in explain_value(path, value, base))


def unknown_path(path: str, known: Sequence[str]) -> str:
    """A complaint about a path that is none, with a hint at the path that is probably meant."""
    field = path.rpartition(".")[2]
    mend = (
        field_hint(field)
        or did_you_mean(path, known)
        or did_you_mean(field, (one for one in known if one.endswith(f".{field}")))
        or "; paths are written 'section.field', for example 'optim.lr_max'"
    )
    return f"'{path}' is not a config path{mend}"


def explain_value(path: str, value: Any, base: DecoderConfig | None) -> list[str]:
    """What is wrong with a value or reference of a config path; empty if nothing is.

    Args:
        base: a configuration whose parts of the user's have paths as well.
    """
    try:
        target = reference(value)
    except ValueError as error:
        return [f"{path}: {error}"]
    if target is not None:
        known = known_paths(base or DecoderConfig())
        return [] if target in known else [f"{path}: {unknown_path(target, known)}"]
    section, name = split_path(path)
    if section == "parts":
        return explain_parameter(base, name, value) if base is not None else []
    try:
        sections()[section].model_validate({name: value})
    except ValidationError as error:
        problems = explain(error, {name: value}, config_keys())
        return [f"{section}.{text}" for text in problems]
    return []


def _check_extra_arms(spec: AblationSpec, taken: Set[str], broken: Set[str]) -> Iterable[str]:
    for name, extra in spec.extra_arms.items():
        if name in taken:
            yield f"extra_arms.{name}: the design has an arm of this name; choose another name"
        for factor, level in extra.levels.items():
            yield from check_level(spec, f"extra_arms.{name}.levels", factor, level, broken)


def _check_evaluations(spec: AblationSpec, arms: Iterable[Arm]) -> Iterable[str]:
    """A complaint if an arm has too few evaluations to count as collapsed."""
    needed = spec.collapse.n_evaluations
    for arm in arms:
        if not isinstance(arm.config, DecoderConfig):
            return  # how often another trainer evaluates is its own matter
        train = arm.config.train
        n_evaluations = -(-train.n_steps // train.eval_every_steps)
        if n_evaluations < needed:
            yield (
                f"collapse.n_evaluations: is {needed}, but arm {arm.arm_id} has {n_evaluations} "
                f"evaluations (train.n_steps {train.n_steps}, train.eval_every_steps "
                f"{train.eval_every_steps}); lower it, or evaluate more often"
            )
            return


def _check_greedy(spec: AblationSpec, base: Configuration) -> Iterable[str]:
    """Complaints about changes, alone and in pairs, that the decoder refuses.

    Larger combinations are checked when the greedy path makes them.
    """
    if spec.greedy is None:
        return
    pairs = itertools.combinations(spec.factors, 2)
    found: dict[str, None] = {}
    common = CommonConfig(spec, base)
    for changed in (*((factor,) for factor in spec.factors), *pairs):
        try:
            candidate_arm(spec, base, changed, GreedyCandidate(len(changed), "base"), common)
        except ConfigError as error:
            found |= dict.fromkeys(error.problems)
            if len(found) > ENOUGH_PROBLEMS:
                break
    yield from found


def _check_budgets(spec: AblationSpec, arms: tuple[Arm, ...]) -> Iterable[str]:
    """Complaints about steps to escape that are compared at different budgets or never differ."""
    steps = {arm.arm_id: n_steps_of(arm.config) for arm in arms}
    longest = max(steps.values(), default=0)
    cells = {arm.arm_id: arm.levels for arm in arms if arm.in_design}
    for name, sides in compared_by_name(spec, cells).items():
        hypothesis = spec.hypotheses[name]
        if hypothesis.outcome != "escape_step":
            continue
        if not all(says_steps(arm.config) for arm in arms):
            yield (
                f"hypotheses.{name}: compares steps to escape, which are censored at the budget; "
                "name the key of the budget under trainer.steps"
            )
            continue
        budgets = {steps[side.arm_id] for side in sides}
        if len(budgets) > 1:
            yield (
                f"hypotheses.{name}: compares steps to escape, which are censored at the budget, "
                f"between different budgets (train.n_steps {sorted(budgets)}); use one budget"
            )
        if hypothesis.margin >= longest:
            yield (
                f"hypotheses.{name}.margin: must be below {longest}, the step budget at which "
                f"steps to escape are censored, but got {hypothesis.margin:g}"
            )
