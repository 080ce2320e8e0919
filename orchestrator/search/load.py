"""Reads a search file and names all of its mistakes at once; `schema` has its shape."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from decoder.complaints import did_you_mean, yaml_text
from decoder.config import DecoderConfig
from decoder.errors import ENOUGH_PROBLEMS, ConfigError
from decoder.pack import HELD_OUT_WORD_COLUMNS, WORD_COLUMNS
from decoder.strict_yaml import load_yaml
from decoder.yaml_lines import with_lines
from orchestrator.search.rungs import brackets_for
from orchestrator.search.schema import SECONDS, SearchArm, SearchSpec
from orchestrator.search.space import Space, configure, corners, grid, n_grid_values
from orchestrator.spec.check_file import explain_value, unknown_path
from orchestrator.spec.check_outcomes import mend as mend_outcome
from orchestrator.spec.check_outcomes import metrics_of, of_other_trials, unrecorded
from orchestrator.spec.configuration import (
    CommandConfig,
    Configuration,
    explain_setting,
    known_paths,
    n_steps_of,
)
from orchestrator.spec.keys import explain_file, load_start
from orchestrator.spec.limits import MOST_RUNS
from orchestrator.spec.names import hint, listed
from orchestrator.spec.schema import Changes
from orchestrator.spec.units import is_error_rate

_LOWER_IS_BETTER = ("val_loss", "train_loss", SECONDS)  # and error rates
_BUDGET = ("train.n_steps", "train.eval_every_steps")
_WORD_WEIGHTS = {
    f"evaluation.words.{name}" for name in ("lm_weight", "word_score", "blank_penalty")
}


@dataclass(frozen=True)
class TunedArm:
    """One arm of a search: a configuration, and what is varied in it.

    Attributes:
        name: ``base`` if the file names no arms.
        changes: what the file's ``set`` and then the arm's change in the base configuration.
        config: the base configuration with these changes.
        space: its dimensions; one that others depend on stands before them.
    """

    name: str
    changes: Changes
    config: Configuration
    space: Space


@dataclass(frozen=True)
class LoadedSearch:
    """A search file that passed every check.

    Attributes:
        spec: the file's content.
        base: its base configuration, before ``set``.
        path: the file.
        arms: what is tuned, in the order of the file.
    """

    spec: SearchSpec
    base: Configuration
    path: Path
    arms: tuple[TunedArm, ...]


def load_search(path: Path) -> LoadedSearch:
    """Read and check a search file together with its base configuration.

    Raises:
        ConfigError: every mistake, one line each, as ``file: key.path: what is wrong``.
    """
    document = load_yaml(path)
    if "factors" in document and "space" not in document:
        raise ConfigError(f"{path}: has factors and no space: it is an ablation; use `run`")
    try:
        spec = SearchSpec.model_validate(document)
    except ValidationError as error:
        problems = [f"{path}: {text}" for text in explain_file(SearchSpec, error, document)]
        raise ConfigError(with_lines(problems, path)) from None
    base = load_start(path, document)
    assert base is not None, "the shape of the file is right"
    return check_search(spec, base, path)


def check_search(spec: SearchSpec, base: Configuration, path: Path) -> LoadedSearch:
    """Check a search against its base configuration; `path` names the file in complaints.

    Raises:
        ConfigError: every mistake, one line each.
    """
    found = itertools.chain(
        _check_objectives(spec, base),
        _check_numbers(spec),
        _check_paths(spec, base),
        _check_arms(spec),
    )
    problems = list(itertools.islice(found, ENOUGH_PROBLEMS))
    arms: list[TunedArm] = []
    if not problems:
        for name, arm in (spec.arms or {"base": SearchArm()}).items():
            changes, space = {**spec.set, **arm.set}, {**spec.space, **arm.space}
            try:
                config = configure(base, changes, where="set")
                arms.append(TunedArm(name, changes, config, space))
            except ConfigError as error:
                problems += error.problems
    for tuned in arms:
        place = f"arms.{tuned.name}" if spec.arms else "space"
        problems += [f"{place}: {problem}" for problem in _check_space(spec, tuned)]
        problems += _check_recorded(spec, tuned)
    problems += _check_budgets(spec, arms)
    if problems:
        complaints = dict.fromkeys(f"{path}: {problem}" for problem in problems)
        raise ConfigError(with_lines(complaints, path))
    return LoadedSearch(spec, base, path, tuple(arms))


def _check_objectives(spec: SearchSpec, base: Configuration) -> Iterator[str]:
    known = (*metrics_of(spec.trainer, base), SECONDS)
    for name, sense in spec.objectives.items():
        if name not in known:
            what = f"'{name}' is no objective"
            yield f"objectives.{name}: {what}{mend_outcome(name, known, spec.trainer)}"
        elif sense == "maximize" and (name in _LOWER_IS_BETTER or is_error_rate(name)):
            yield (
                f"objectives.{name}: 'maximize' would search for the worst decoder, since a lower "
                f"{name} is better; write {name}: minimize"
            )


def _check_recorded(spec: SearchSpec, tuned: TunedArm) -> Iterator[str]:
    """Complaints about objectives that not every candidate of an arm records."""
    if not isinstance(tuned.config, DecoderConfig):
        return
    for name in spec.objectives:
        for params in corners(tuned.space):
            with suppress(ConfigError):  # which `_check_space` names
                config = configure(tuned.config, params, where="")
                assert isinstance(config, DecoderConfig)
                if lacking := unrecorded(name, config):
                    who = f"arm {tuned.name}" if spec.arms else "a candidate"
                    yield f"objectives.{name}: {who} {lacking} for all candidates, under 'set'"
                    break
    words, train = tuned.config.evaluation.words, tuned.config.train
    rungs = {step for one in brackets_for(spec.stopping, tuned.config) for step in one.rungs}
    unknown = sorted(step for step in rungs if not words.is_due(step, train))
    if spec.first in (*WORD_COLUMNS, *HELD_OUT_WORD_COLUMNS) and words.is_on and unknown:
        yield (
            f"objectives.{spec.first}: candidates may be stopped after step {unknown[0]}, whose "
            "evaluation is not decoded to words; set evaluation.words.every to 1, or write "
            "stopping: {method: none}"
        )


def _check_numbers(spec: SearchSpec) -> Iterator[str]:
    fresh = spec.confirm.seeds if spec.confirm else ()
    for key, seeds in (("seeds", spec.seeds), ("confirm.seeds", fresh)):
        if repeated := [seed for seed, n in Counter(seeds).items() if n > 1]:
            yield f"{key}: {min(repeated)} appears twice; each seed is one replicate, keep one"
    if shared := sorted(set(spec.seeds).intersection(fresh)):
        yield (
            f"confirm.seeds: {listed(shared)} already chose the candidates (seeds); "
            "a confirmation needs fresh seeds, such as "
            f"[{', '.join(str(max(spec.seeds) + 1 + k) for k in range(6))}]"
        )
    n_runs = spec.n_candidates * max(1, len(spec.arms)) * len(spec.seeds)
    if n_runs > MOST_RUNS:
        yield (
            f"n_candidates: {n_runs:,} runs (candidates of all arms, with every seed), but at most "
            f"{MOST_RUNS:,} are allowed; use fewer candidates or seeds"
        )
    if not 1 <= len(spec.objectives) <= 2:
        yield f"objectives: must be one or two, but got {len(spec.objectives)}"
    elif spec.first == SECONDS:
        yield "objectives: the first one decides which candidate is best; name a metric first"
    if spec.trainer is not None and spec.stopping.method != "none":
        yield (
            "stopping: a command is not stopped at a step and continued; write method: none, or "
            "leave 'stopping' out"
        )
    if len(spec.objectives) == 2 and spec.stopping.method != "none":
        yield (
            "stopping: with two objectives no candidate is clearly the worst, so none can be "
            "stopped; write method: none, or keep one objective"
        )
    if len(spec.objectives) == 2 and spec.sampler == "cmaes":
        yield "sampler: cmaes takes one objective; use tpe, gp, qmc, random or grid for two"


def _check_paths(spec: SearchSpec, base: Configuration) -> Iterator[str]:
    known = known_paths(base)
    places: dict[str, Mapping[str, object]] = {"set": spec.set, "space": spec.space}
    for name, arm in spec.arms.items():
        places |= {f"arms.{name}.set": arm.set, f"arms.{name}.space": arm.space}
    for where, paths in places.items():
        for path, value in paths.items():
            if isinstance(base, CommandConfig):
                of_space = base.settings.get(path) if where.endswith("space") else value
                yield from (f"{where}: {text}" for text in explain_setting(base, path, of_space))
            elif path not in known:
                yield f"{where}: {unknown_path(path, known)}"
            elif where.endswith("set"):
                yield from (f"{where}.{text}" for text in explain_value(path, value, base))
    if not spec.space and not any(arm.space for arm in spec.arms.values()):
        yield (
            "space: must name at least one config path, for example "
            "space: {optim.lr_max: {log: [0.0005, 0.05]}}"
        )


def _check_arms(spec: SearchSpec) -> Iterator[str]:
    if len(spec.arms) == 1:
        yield "arms: must be two or more; move 'set' and 'space' of the only one to the top"
    for name, claim in spec.hypotheses.items():
        for key, arm in (("from", claim.from_arm), ("to", claim.to_arm)):
            if arm not in spec.arms:
                yield f"hypotheses.{name}.{key}: '{arm}' is no arm{hint(arm, spec.arms)}"
        if claim.from_arm == claim.to_arm:
            yield f"hypotheses.{name}: compares '{claim.to_arm}' with itself; name two arms"
    if spec.hypotheses and spec.confirm is None:
        yield "hypotheses: are decided on fresh seeds only; add 'confirm'"


def _check_space(spec: SearchSpec, tuned: TunedArm) -> Iterator[str]:
    before: list[str] = []
    for path, dimension in tuned.space.items():
        for other, value in dimension.when.items():
            if other not in before:
                yield (
                    f"{path}.when: '{other}' must be a dimension that stands before '{path}'"
                    f"{did_you_mean(other, before)}"
                )
            elif (choices := tuned.space[other].choice) is not None and value not in choices:
                got, listing = yaml_text(value), yaml_text(choices)
                yield f"{path}.when: {other} is never {got} (its choices: {listing})"
        before.append(path)
        if path in tuned.changes:
            yield f"{path}: is both set and searched; remove it from 'set'"
    if not set(before).isdisjoint(_BUDGET) and spec.stopping.method != "none":
        yield f"{' and '.join(_BUDGET)} cannot be searched where candidates are stopped early"
    if "data.held_out_sessions" in tuned.space:
        yield (
            "data.held_out_sessions: candidates would be compared on other trials; write it under "
            "'set'"
        )
    for path in sorted(_WORD_WEIGHTS.intersection(tuned.space)):
        if spec.objectives.keys() & {*WORD_COLUMNS, *HELD_OUT_WORD_COLUMNS}:
            yield (
                f"{path}: would be chosen on the trials whose word errors are reported; write "
                "'tune' or a number under 'set', or search for another objective"
            )
    refused: dict[str, None] = {}
    for params in corners(tuned.space):
        try:
            configure(tuned.config, params, where="")
        except ConfigError as error:
            refused |= dict.fromkeys(problem.removeprefix(": ") for problem in error.problems)
    yield from refused
    if spec.sampler == "grid":
        yield from _check_grid(spec, tuned.space)


def _check_grid(spec: SearchSpec, space: Space) -> Iterator[str]:
    endless = [p for p, d in space.items() if d.kind in ("log", "uniform") and not d.points]
    for path in endless:
        yield f"{path}: a grid needs the number of values; add 'points'"
    if endless:
        return
    most = math.prod(n_grid_values(dimension) for dimension in space.values())
    if most > MOST_RUNS:
        yield (
            f"sampler: the grid has up to {most:.3g} points, but at most {MOST_RUNS:,} are "
            "allowed; use fewer values, or sampler: qmc"
        )
    elif (n_points := len(list(grid(space))) if space else 0) < spec.n_candidates:
        yield (
            f"n_candidates is {spec.n_candidates}, but the grid has {n_points} points; lower it, "
            "or refine the grid"
        )


def _check_budgets(spec: SearchSpec, arms: list[TunedArm]) -> Iterator[str]:
    for tuned in arms:
        if not isinstance(tuned.config, DecoderConfig):
            continue
        train = tuned.config.train
        rungs = brackets_for(spec.stopping, tuned.config)[0].rungs
        if spec.stopping.method != "none" and not rungs:
            yield (
                f"stopping.min_steps: {spec.stopping.min_steps} leaves no evaluation before the "
                f"end of the budget ({train.n_steps} steps, evaluated every "
                f"{train.eval_every_steps}); lower it, or write method: none"
            )
    configs = {tuned.name: tuned.config for tuned in arms}
    for claim in spec.hypotheses.values():
        held_out = {
            arm: config.data.held_out_sessions
            for arm in (claim.from_arm, claim.to_arm)
            if isinstance(config := configs.get(arm), DecoderConfig)
        }
        yield from (f"arms: {text}" for text in of_other_trials(held_out))
    budgets = {tuned.name: n_steps_of(tuned.config) for tuned in arms}
    if spec.hypotheses and len(set(budgets.values())) > 1:
        listed = ", ".join(f"{name}: {n_steps}" for name, n_steps in budgets.items())
        yield f"arms: must have the same step budget to be compared, but got {listed}"
