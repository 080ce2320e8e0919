"""The ablation file: reads it and names every mistake in it at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from decoder.config import DecoderConfig
from decoder.errors import ENOUGH_PROBLEMS, ConfigError
from decoder.strict_yaml import load_yaml
from decoder.yaml_lines import with_lines
from orchestrator.spec.arms import Arm
from orchestrator.spec.cells import Levels
from orchestrator.spec.check_file import BROKEN_TRAINER, find_problems
from orchestrator.spec.check_outcomes import check_outcomes
from orchestrator.spec.compared import Compared, compared_by_name
from orchestrator.spec.configuration import CommandConfig, Configuration
from orchestrator.spec.keys import explain_file, load_start
from orchestrator.spec.names import level_text
from orchestrator.spec.profiles import apply_profile
from orchestrator.spec.repeat import with_repeat
from orchestrator.spec.schema import (
    FORMER_NO_DIFFERENCE,
    AblationSpec,
    Changes,
    Criterion,
    Hypothesis,
    levels_of,
)

__all__ = [
    "AblationSpec",
    "Changes",
    "Criterion",
    "Hypothesis",
    "Loaded",
    "levels_of",
    "load_spec",
]


@dataclass(frozen=True)
class Loaded:
    """An ablation file that passed every check.

    Attributes:
        base: its base configuration, before ``set``.
        arms: every arm, those of the design first.
        notes: remarks on words of the file that have changed since.
    """

    spec: AblationSpec
    base: Configuration
    path: Path
    arms: tuple[Arm, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def cells(self) -> dict[str, Levels]:
        """Arm id → levels, for the arms of the design."""
        return {arm.arm_id: arm.levels for arm in self.arms if arm.in_design}

    @cached_property
    def compared(self) -> dict[str, tuple[Compared, ...]]:
        """Hypothesis → the arms it compares, see `orchestrator.spec.compared.compared`.

        Raises:
            ConfigError: every hypothesis whose arms do not fit.
        """
        return compared_by_name(self.spec, self.cells)


def load_spec(path: Path, profile: str | None = None) -> Loaded:
    """Read and check an ablation file together with its base configuration.

    `orchestrator.spec.schema` refuses unknown keys and wrong types, `orchestrator.spec.check_file`
    unknown names and config paths; `orchestrator.spec.keys` words what the schema refuses.

    A level may be named by a bare number (``0.005: {...}``). Its name is then the shortest
    decimal text of that number, wherever the file names the level.

    Args:
        profile: the profile to apply (see `orchestrator.spec.profiles`); None applies none.

    Raises:
        ConfigError: every mistake found, one line each, as ``file: key.path: complaint``.
    """
    read = load_yaml(path)
    if "space" in read and "factors" not in read:
        raise ConfigError(
            f"{path}: is a search, since it has 'space' and no 'factors'; use `search` for it"
        )
    if read and set(read) <= set(DecoderConfig.model_fields):
        raise ConfigError(
            f"{path}: is a decoder configuration, not an ablation; write an ablation that names "
            "it as its 'base' and says what to vary"
        )
    document, profile_problems = apply_profile(read, profile)
    if document.get("factors") is None:
        document["factors"] = {}
    problems: list[str] = []
    document = _with_names(document, (), problems)
    problems += profile_problems
    broken: frozenset[str] = frozenset()
    try:
        spec = AblationSpec.model_validate(document)
    except ValidationError as error:
        problems += explain_file(AblationSpec, error, document, ["profiles"])
        spec, broken = _salvage(document, error)
    problems = [f"{path}: {problem}" for problem in problems]
    base = None
    try:
        base = load_start(path, document)
    except ConfigError as error:
        problems += error.problems
    if spec.trainer is not None or document.get("trainer") is None:
        problems += [f"{path}: {problem}" for problem in check_outcomes(spec, base)]
    if isinstance(base, CommandConfig) and not problems:
        spec = with_repeat(spec, base.trainer)
    arms, check_problems = find_problems(spec, base, broken)
    problems += [f"{path}: {problem}" for problem in check_problems]
    if problems:
        over = ("profiles", profile) if profile else ()
        raise ConfigError(with_lines(dict.fromkeys(problems), path, over))
    assert base is not None
    return Loaded(spec=spec, base=base, path=path, arms=arms, notes=_notes(document))


def _notes(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Remarks on the former word for claims of no difference, which sounded two-sided."""
    return tuple(
        f"hypotheses.{name}.direction: 'none' is read as no_difference, which is supported when "
        "the effect is smaller than the margin; write no_difference, or either for an effect in "
        "either direction"
        for name, hypothesis in (document.get("hypotheses") or {}).items()
        if hypothesis["direction"] == FORMER_NO_DIFFERENCE
    )


# Mappings whose keys are names, and those whose values are names too. `*` stands for any entry.
_NAMED = {("factors",), ("factors", "*"), ("hypotheses",), ("extra_arms",), ("arms",)}
_CELLS = {
    ("hypotheses", "*", "where"),
    ("hypotheses", "*", "contrast"),
    ("hypotheses", "*", "interaction"),
    ("extra_arms", "*", "levels"),
    ("arms", "*"),
    ("include", "*"),
    ("exclude", "*"),
}


def _with_names(value: Any, at: tuple[str, ...], problems: list[str]) -> Any:
    """A copy of a part of the file, with names that YAML read as numbers turned into text.

    Args:
        problems: receives a complaint for each name that a mapping has twice.
    """
    if isinstance(value, list):
        return [_with_names(one, (*at, str(i)), problems) for i, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    place = (at[0], "*", *at[2:]) if len(at) > 1 else at
    named: dict[Any, Any] = {}
    for key, one in value.items():
        name = level_text(key) if place in _NAMED | _CELLS else key
        if name in named:
            problems.append(f"{'.'.join(at)}: two keys are named '{name}'; keep one of them")
        inside = _with_names(one, (*at, str(name)), problems)
        named[name] = level_text(inside) if place in _CELLS else inside
    return named


# Stands among the broken factors for a malformed choice of arms. No factor can have this name.
_DESIGN = "<design>"
_DESIGN_KEYS = ("design", "fraction", "arms", "include", "exclude")
_REQUIRED: dict[str, Any] = {
    "name": "unnamed",
    "question": "?",
    "base": "?",
    "factors": {},
    "seeds": (0,),
}
_STAND_INS = _REQUIRED | {"claim": "?", "outcome": "per", "direction": "increase", "margin": 0.01}


def _salvage(
    document: dict[str, Any], error: ValidationError
) -> tuple[AblationSpec, frozenset[str]]:
    """Keep the sound parts of a malformed document, so that its other mistakes are found as well.

    Returns:
        A specification without the malformed parts, and the factors that lost parts; ``*`` stands
        for all factors, and `_DESIGN` for the choice of arms.
    """
    if error.error_count() > ENOUGH_PROBLEMS:
        return AblationSpec.model_validate(_REQUIRED), frozenset({"*"})
    broken: set[str] = set()
    left: dict[Any, Any] = dict(document)
    for item in error.errors():
        at = item["loc"]
        part = left.get(at[0])
        part = part if isinstance(part, dict) else {}
        entry = part.get(at[1]) if len(at) > 1 else None
        if at[0] == "factors":
            broken.add(str(at[1]) if len(at) > 1 else "*")
            if len(at) < 3:
                left["factors"] = {**part, at[1]: {}} if len(at) == 2 else {}
            else:
                left = _without(left, at[:2] if at[2] == "[key]" else at[:3])
        elif at[0] == "trainer":  # nothing can be said of settings
            left, broken = _without(left, at[:1]), broken | {"*", BROKEN_TRAINER}
        elif at[0] not in ("hypotheses", "extra_arms", "criteria") or len(at) == 1:
            left = _without(left, at[:1])
            broken |= {_DESIGN} if at[0] in _DESIGN_KEYS else set()
        elif isinstance(entry, dict) and len(at) > 2 and at[2] in _STAND_INS:
            left[at[0]] = {**part, at[1]: {**entry, at[2]: _STAND_INS[str(at[2])]}}
        else:
            is_unknown_key = item["type"] == "extra_forbidden" and len(at) == 3
            left = _without(left, at if is_unknown_key else at[:2])
    try:
        return AblationSpec.model_validate(_REQUIRED | left), frozenset(broken)
    except ValidationError:
        # One malformed part hid another, which is reported once the first is corrected.
        return AblationSpec.model_validate(_REQUIRED), frozenset({"*"})


def _without(value: Any, at: Sequence[int | str]) -> Any:
    """A copy of nested mappings without the entry at a location."""
    if not isinstance(value, dict) or at[0] not in value:
        return value
    if len(at) > 1:
        return {**value, at[0]: _without(value[at[0]], at[1:])}
    return {key: one for key, one in value.items() if key != at[0]}
