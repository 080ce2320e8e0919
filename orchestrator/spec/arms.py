"""Factors to arms: makes the configuration of every arm of an ablation.

A design says which combinations of levels are trained (`orchestrator.spec.cells`):

- ``factorial``: all of them.
- ``one_factor``: the base, and the base with one factor at another level, for each such level.
- ``leave_one_out``: all changes, all but one for each change, and the base.
- ``paired``: the i-th levels of all factors together.
- ``path``: from the base to all changes, adding one change after the other. The arms of the greedy
  path are made while it runs (`orchestrator.driver.grow`).
- ``fractional``: a fraction of all two-level combinations in which main effects stay separable.
- ``arms``: the listed ones.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from decoder.config import parse_config
from decoder.errors import ENOUGH_PROBLEMS, ConfigError
from decoder.field_paths import unflatten
from orchestrator.spec.cells import DesignCell, changes_cell, design_cells
from orchestrator.spec.configuration import CommandConfig, Configuration, flatten, override
from orchestrator.spec.references import chain_of, follow, references_in
from orchestrator.spec.schema import AblationSpec, Changes


@dataclass(frozen=True)
class GreedyCandidate:
    """The place of an arm in a greedy path.

    Attributes:
        round: the round in which it is tried.
        after: the id of the arm it adds a change to.
    """

    round: int
    after: str


@dataclass(frozen=True)
class Arm:
    """One configuration without its seed.

    Attributes:
        arm_id: short text, unique within the ablation and usable in file names.
        name: a description for readers.
        levels: factor → level: every factor for an arm of the design, and the factors that it
            names for an extra arm.
        changes: config path → value, on top of the base and the ablation's ``set``; references to
            other paths are replaced by values.
        config: the configuration as written, before `decoder.config.resolve`.
        in_design: whether the arm belongs to the design, so that hypotheses can compare it.
        note: the file's note on an extra arm.
        seed_offset: added to each seed it is trained with.
        replicate: if above 0, its runs repeat runs of the same configuration and seeds.
        derived: config path → the path whose value it takes.
        candidate: its place in a greedy path; None for other arms.
    """

    arm_id: str
    name: str
    levels: Mapping[str, str]
    changes: Changes
    config: Configuration
    in_design: bool
    note: str = ""
    seed_offset: int = 0
    replicate: int = 0
    derived: Mapping[str, str] = field(default_factory=dict)
    candidate: GreedyCandidate | None = None

    def comes_from(self, path: str) -> list[str]:
        """`path`, the path whose value it takes, the path whose value that takes, and so on."""
        return chain_of(path, self.derived)


def make_arms(spec: AblationSpec, base: Configuration) -> tuple[Arm, ...]:
    """Every arm of an ablation in the order of the file, those of the design first.

    Raises:
        ConfigError: combinations of values that the decoder refuses; each complaint once, with
            the first arm that causes it.
    """
    common = CommonConfig(spec, base)
    drafts = [_draft(common, cell, in_design=True) for cell in design_cells(spec)]
    drafts += [
        Arm(
            arm_id=name,
            name=name,
            levels=extra.levels,
            changes={**changes_of_levels(spec, extra.levels), **extra.set},
            config=common.config,
            in_design=False,
            note=extra.note,
            seed_offset=extra.seed_offset,
            replicate=extra.replicate,
        )
        for name, extra in spec.extra_arms.items()
    ]
    arms: list[Arm] = []
    met: dict[str, list[str]] = {}  # complaint → arms
    n_refused = 0
    for draft in drafts:
        if n_refused > ENOUGH_PROBLEMS:
            break
        try:
            arms.append(common.completed(draft))
        except ConfigError as error:
            n_refused += 1
            for complaint in _complaints(error):
                met.setdefault(complaint, []).append(draft.arm_id)
    if met:
        raise ConfigError(of_arms(met))
    return tuple(arms)


def of_arms(met: Mapping[str, Sequence[str]]) -> list[str]:
    """Complaints that several arms may share, each once with its first arm: complaint → arms."""
    return [
        f"arm {names[0]}: {complaint}"
        + (f" (and in {len(names) - 1} more arms)" if len(names) > 1 else "")
        for complaint, names in met.items()
    ]


def candidate_arm(
    spec: AblationSpec,
    base: Configuration,
    changed: Collection[str],
    candidate: GreedyCandidate,
    common: "CommonConfig | None" = None,
) -> Arm:
    """The arm of a greedy path that has these factors at their second level, and no others.

    Args:
        base: its base configuration, before ``set``.
        common: `CommonConfig` of both, for a caller that makes many.

    Raises:
        ConfigError: the decoder refuses the combination of values.
    """
    cell, common = changes_cell(spec, changed), common or CommonConfig(spec, base)
    draft = _draft(common, cell, in_design=False)
    try:
        return common.completed(replace(draft, candidate=candidate))
    except ConfigError as error:
        raise ConfigError(
            [
                f"greedy: {cell.name}: {complaint}; a greedy path may try every combination of "
                "changes, so leave 'greedy' out or change the levels"
                for complaint in _complaints(error)
            ]
        ) from None


class CommonConfig:
    """The configuration that every arm starts from: the base with the ablation's ``set``."""

    def __init__(self, spec: AblationSpec, base: Configuration) -> None:
        self.spec = spec
        self.config: Configuration
        if isinstance(base, CommandConfig):  # whose own interpolation follows references
            self.config = override(base, spec.set, "set")
            return
        self.values = {**flatten(base), **spec.set}
        self.targets = references_in(spec.set)
        filled = follow(self.values, self.targets)
        self.config = override(base, {path: filled[path] for path in spec.set}, "set")
        self.flat = flatten(self.config)
        self.sections = {name: getattr(self.config, name) for name in unflatten(self.flat)}

    def completed(self, draft: Arm) -> Arm:
        """The arm with its references replaced by values, and with its configuration.

        Raises:
            ConfigError: the decoder refuses the combination of values.
        """
        if isinstance(self.config, CommandConfig):
            return replace(draft, config=override(self.config, draft.changes, ""))
        changes, targets = self.fill(draft.changes)
        # Only the changed sections still have to be validated.
        names = tuple(f"{name}." for name in unflatten(changes))
        same = {path: value for path, value in self.flat.items() if path.startswith(names)}
        changed = unflatten({**same, **changes})
        config = parse_config({**self.sections, **changed}, "")
        return replace(draft, changes=changes, config=config, derived=targets)

    def fill(self, changes: Changes) -> tuple[Changes, dict[str, str]]:
        """Replace the references in an arm's changes by values.

        A path of ``set`` that refers to a path that the arm changes becomes a change of the arm.

        Returns:
            The changes, and path → the path it refers to.
        """
        targets = {
            **{path: target for path, target in self.targets.items() if path not in changes},
            **references_in(changes),
        }
        if not targets:
            return changes, targets
        filled = follow({**self.values, **changes}, targets)
        moved = [p for p in targets if p not in changes and filled[p] != self.flat[p]]
        return {path: filled[path] for path in (*changes, *moved)}, targets


def _draft(common: CommonConfig, cell: DesignCell, *, in_design: bool) -> Arm:
    changes = changes_of_levels(common.spec, cell.levels)
    return Arm(cell.arm_id, cell.name, cell.levels, changes, common.config, in_design)


def _complaints(error: ConfigError) -> list[str]:
    return [text.removeprefix(": ").removeprefix("top level: ") for text in error.problems]


def changes_of_levels(spec: AblationSpec, levels: Mapping[str, str]) -> Changes:
    """The config paths and values that a choice of levels sets; each path belongs to one factor."""
    changes: dict[str, Any] = {}
    for factor, level in levels.items():
        changes.update(spec.factors[factor][level])
    return changes


def factor_paths(spec: AblationSpec, factor: str) -> frozenset[str]:
    """The config paths that the levels of `factor` set."""
    return frozenset(path for changes in spec.factors[factor].values() for path in changes)
