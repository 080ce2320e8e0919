"""Factors to arms: the resolved choices an ablation compares.

A design says which combinations of levels are trained (`orchestrator.spec.cells`):

- ``factorial``: all of them.
- ``one_factor``: the base, and each other level alone.
- ``leave_one_out``: all changes on, each taken out, and the base.
- ``paired``: the i-th level of every factor together.
- ``path``: from the base to all changes, one change after the other; the arms of the greedy
  path are made as it goes (`orchestrator.driver.grow`).
- ``fractional``: of all two-level combinations a fraction that keeps main effects clear.
- ``arms``: those listed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from decoder.config import DecoderConfig, flatten, override, parse_config, unflatten
from decoder.errors import ConfigError
from orchestrator.spec.cells import changes_cell, design_cells
from orchestrator.spec.references import chain_of, follow, references
from orchestrator.spec.schema import AblationSpec, Changes


@dataclass(frozen=True)
class Candidate:
    """What an arm of a greedy path is tried as: in which round, and on top of which arm."""

    round: int
    after: str


@dataclass(frozen=True)
class Arm:
    """One configuration without its seed.

    Attributes:
        arm_id: short text, unique within the ablation, fit for file names.
        name: what it is, for people.
        levels: factor → level. Every factor for an arm of the design; for an extra arm those
            it names.
        changes: config path → value, on top of the base and the ablation's ``set``; values
            given by another path are filled in.
        config: the configuration as written, before `decoder.config.resolve`.
        in_design: whether hypotheses may use it.
        note: the file's remark on an extra arm.
        seed_offset: added to each seed it is trained with.
        replicate: above 0, its runs repeat runs of the same configuration and seeds.
        derived: config path → the path it takes its value from.
        candidate: its place in a greedy path, if it was made for one.
    """

    arm_id: str
    name: str
    levels: Mapping[str, str]
    changes: Changes
    config: DecoderConfig
    in_design: bool
    note: str = ""
    seed_offset: int = 0
    replicate: int = 0
    derived: Mapping[str, str] = field(default_factory=dict)
    candidate: Candidate | None = None

    def comes_from(self, path: str) -> list[str]:
        """`path` and every path that its value is taken from."""
        return chain_of(path, self.derived)


def make_arms(spec: AblationSpec, base: DecoderConfig) -> tuple[Arm, ...]:
    """Every arm of an ablation, the design's first, in the order of the file.

    Raises:
        ConfigError: a combination the decoder's configuration refuses, each kind once with
            the first arm it was met in.
    """
    common = _Common(spec, base)
    arms: list[Arm] = []
    met: dict[str, list[str]] = {}  # complaint → arms
    for cell in design_cells(spec):
        changes = changes_of_levels(spec, cell.levels)
        draft = Arm(cell.arm_id, cell.name, cell.levels, changes, common.config, True)
        _append(arms, met, common, draft)
    for name, extra in spec.extra_arms.items():
        changes = {**changes_of_levels(spec, extra.levels), **extra.set}
        draft = Arm(
            arm_id=name,
            name=name,
            levels=extra.levels,
            changes=changes,
            config=common.config,
            in_design=False,
            note=extra.note,
            seed_offset=extra.seed_offset,
            replicate=extra.replicate,
        )
        _append(arms, met, common, draft)
    if met:
        raise ConfigError(
            [
                f"arm {names[0]}: {complaint}"
                + (f" (and in {len(names) - 1} more arms)" if len(names) > 1 else "")
                for complaint, names in met.items()
            ]
        )
    return tuple(arms)


def candidate_arm(
    spec: AblationSpec, base: DecoderConfig, changed: Collection[str], candidate: Candidate
) -> Arm:
    """The arm of a ``path`` with these factors, and no others, at their second level.

    Args:
        spec: the ablation.
        base: its base configuration, before ``set``.
        changed: the factors.
        candidate: the arm's place in the greedy path.

    Raises:
        ConfigError: the decoder's configuration refuses the combination.
    """
    cell = changes_cell(spec, changed)
    arms: list[Arm] = []
    met: dict[str, list[str]] = {}
    common = _Common(spec, base)
    changes = changes_of_levels(spec, cell.levels)
    draft = Arm(cell.arm_id, cell.name, cell.levels, changes, common.config, False)
    _append(arms, met, common, replace(draft, candidate=candidate))
    if met:
        raise ConfigError(
            [
                f"greedy: {cell.name}: {complaint}; the greedy path needs every combination of "
                "changes, so leave 'greedy' out or give other levels"
                for complaint in met
            ]
        )
    return arms[0]


class _Common:
    """What every arm starts from: the base with the ablation's ``set``."""

    def __init__(self, spec: AblationSpec, base: DecoderConfig) -> None:
        self.values = {**flatten(base), **spec.set}
        self.targets = references(spec.set)
        filled = follow(self.values, self.targets)
        self.config = override(base, {path: filled[path] for path in spec.set}, "set")
        self.flat = flatten(self.config)
        self.nested = unflatten(self.flat)
        self.sections = {name: getattr(self.config, name) for name in self.nested}

    def sections_with(self, changes: Changes) -> dict[str, Any]:
        """The sections to validate with these changes; those without any are valid already."""
        changed = unflatten(changes).items()
        return {**self.sections, **{name: {**self.nested[name], **new} for name, new in changed}}

    def fill(self, changes: Changes) -> tuple[Changes, dict[str, str]]:
        """The changes of an arm with references followed, and which path follows which.

        A path of ``set`` that follows one the arm changes is a change of the arm as well.
        """
        targets = {
            **{path: target for path, target in self.targets.items() if path not in changes},
            **references(changes),
        }
        if not targets:
            return changes, targets
        filled = follow({**self.values, **changes}, targets)
        moved = [p for p in targets if p not in changes and filled[p] != self.flat[p]]
        return {path: filled[path] for path in (*changes, *moved)}, targets


def _append(arms: list[Arm], met: dict[str, list[str]], common: _Common, draft: Arm) -> None:
    try:
        changes, targets = common.fill(draft.changes)
        config = parse_config(common.sections_with(changes), "")
    except ConfigError as error:
        for problem in error.problems:
            complaint = problem.removeprefix(": ").removeprefix("top level: ")
            met.setdefault(complaint, []).append(draft.arm_id)
        return
    arms.append(replace(draft, changes=changes, config=config, derived=targets))


def changes_of_levels(spec: AblationSpec, levels: Mapping[str, str]) -> Changes:
    """The config paths that a choice of levels sets; no two factors set the same one."""
    changes: dict[str, Any] = {}
    for factor, level in levels.items():
        changes.update(spec.factors[factor][level])
    return changes


def factor_paths(spec: AblationSpec, factor: str) -> frozenset[str]:
    """Every config path that a level of `factor` sets."""
    return frozenset(path for changes in spec.factors[factor].values() for path in changes)
