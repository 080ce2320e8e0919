"""Factors to arms: the resolved choices an ablation compares, and which of them a claim needs."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from decoder.config import DecoderConfig, override
from decoder.errors import ConfigError
from orchestrator.spec import AblationSpec, Changes, Hypothesis, levels_of

MAX_ARMS = 20_000
_MAX_ID_LENGTH = 64


@dataclass(frozen=True)
class Arm:
    """One configuration without its seed.

    Attributes:
        arm_id: short text, unique within the ablation, fit for file names.
        name: what it is, for people.
        levels: factor → level. Every factor for an arm of the design; for an extra arm those
            it names.
        changes: config path → value, on top of the base and the ablation's ``set``.
        config: the configuration as written, before `decoder.config.resolve`.
        in_design: whether hypotheses may use it.
        note: the file's remark on an extra arm.
    """

    arm_id: str
    name: str
    levels: Mapping[str, str]
    changes: Changes
    config: DecoderConfig
    in_design: bool
    note: str = ""


def make_arms(spec: AblationSpec, base: DecoderConfig) -> tuple[Arm, ...]:
    """Every arm of an ablation, the design's first, in the order of the file.

    Raises:
        ConfigError: a combination the decoder's configuration refuses, each kind once with
            the first arm it was met in; or more than `MAX_ARMS` arms.
    """
    if (n_arms := n_design_arms(spec)) > MAX_ARMS:
        raise ConfigError(
            f"factors: crossed they make {n_arms:,} arms, but at most {MAX_ARMS:,} are planned; "
            "leave levels out, or use design: one_factor"
        )
    common = override(base, spec.set, "set")
    arms: list[Arm] = []
    met: dict[str, list[str]] = {}  # complaint → arms
    for arm_id, name, levels in _design_cells(spec):
        changes = changes_of_levels(spec, levels)
        _append(arms, met, common, Arm(arm_id, name, levels, changes, common, True))
    for name, extra in spec.extra_arms.items():
        changes = {**changes_of_levels(spec, extra.levels), **extra.set}
        _append(
            arms, met, common, Arm(name, name, extra.levels, changes, common, False, extra.note)
        )
    if met:
        raise ConfigError(
            [
                f"arm {names[0]}: {complaint}"
                + (f" (and in {len(names) - 1} more arms)" if len(names) > 1 else "")
                for complaint, names in met.items()
            ]
        )
    return tuple(arms)


def _append(arms: list[Arm], met: dict[str, list[str]], common: DecoderConfig, draft: Arm) -> None:
    try:
        config = override(common, draft.changes, "")
    except ConfigError as error:
        for problem in error.problems:
            complaint = problem.removeprefix(": ").removeprefix("top level: ")
            met.setdefault(complaint, []).append(draft.arm_id)
        return
    arms.append(replace(draft, config=config))


def n_design_arms(spec: AblationSpec) -> int:
    """How many arms the design has, extra arms left out."""
    n_arms = 1
    for levels in spec.factors.values():
        n_arms = n_arms * len(levels) if spec.design == "factorial" else n_arms + len(levels) - 1
    return n_arms


def design_arm_ids(spec: AblationSpec) -> Iterator[str]:
    """The ids of the design's arms, without making their configurations."""
    return (arm_id for arm_id, _, _ in _design_cells(spec))


def _design_cells(spec: AblationSpec) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Arm id, name and levels of each arm of the design."""
    levels = levels_of(spec)
    if spec.design == "factorial":
        for cell in itertools.product(*levels.values()):
            chosen = dict(zip(levels, cell, strict=True))
            name = " · ".join(f"{factor}={level}" for factor, level in chosen.items())
            yield _short("+".join(cell)), name, chosen
        return
    base_levels = {factor: names[0] for factor, names in levels.items()}
    yield "base", "base", base_levels
    for factor, names in levels.items():
        for level in names[1:]:
            name = f"{factor}={level}"
            yield _short(f"{factor}+{level}"), name, {**base_levels, factor: level}


def _short(text: str) -> str:
    if len(text) <= _MAX_ID_LENGTH:
        return text
    return f"{text[: _MAX_ID_LENGTH - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def changes_of_levels(spec: AblationSpec, levels: Mapping[str, str]) -> Changes:
    """The config paths that a choice of levels sets; no two factors set the same one."""
    changes: dict[str, Any] = {}
    for factor, level in levels.items():
        changes.update(spec.factors[factor][level])
    return changes


def factor_paths(spec: AblationSpec, factor: str) -> frozenset[str]:
    """Every config path that a level of `factor` sets."""
    return frozenset(path for changes in spec.factors[factor].values() for path in changes)


def cells_of(hypothesis: Hypothesis) -> tuple[dict[str, str], ...]:
    """The levels of the arms a hypothesis compares.

    Returns:
        ``(from, to)``; with an interaction ``(from, to)`` at its ``from`` level and then
        ``(from, to)`` at its ``to`` level.
    """
    contrast, other = hypothesis.contrast, hypothesis.interaction
    pair = [
        {**hypothesis.where, contrast.factor: level}
        for level in (contrast.from_level, contrast.to_level)
    ]
    if other is None:
        return tuple(pair)
    return tuple(
        {**cell, other.factor: level}
        for level in (other.from_level, other.to_level)
        for cell in pair
    )


def find_arms(arms: Sequence[Arm], cells: Sequence[Mapping[str, str]]) -> list[Arm | None]:
    """The design's arm at each cell; None where the design has none."""
    by_levels = {frozenset(arm.levels.items()): arm for arm in arms if arm.in_design}
    return [by_levels.get(frozenset(cell.items())) for cell in cells]
