"""The ablation file: reading it with every mistake named at once; its shape is `schema`'s."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from decoder.complaints import did_you_mean, explain
from decoder.config import DecoderConfig, load_config
from decoder.errors import ConfigError
from decoder.marks import Section
from decoder.strict_yaml import load_yaml
from orchestrator.spec.cells import Levels
from orchestrator.spec.compared import Compared, compared_by_name
from orchestrator.spec.schema import (
    AblationSpec,
    Changes,
    CollapseSpec,
    Contrast,
    Criterion,
    ExtraArm,
    Fraction,
    Greedy,
    Hypothesis,
    Look,
    Outcome,
    check_name,
    levels_of,
)

if TYPE_CHECKING:
    from orchestrator.spec.arms import Arm

# Stands among broken factors for a malformed choice of arms; no factor can be named so.
DESIGN = "<design>"

__all__ = [
    "DESIGN",
    "AblationSpec",
    "Changes",
    "Contrast",
    "Criterion",
    "Hypothesis",
    "Loaded",
    "Look",
    "Outcome",
    "check_name",
    "level_names",
    "level_text",
    "levels_of",
    "load_spec",
]


@dataclass(frozen=True)
class Loaded:
    """An ablation file that passed every check.

    Attributes:
        spec: the file.
        base: its base configuration, before ``set``.
        path: where the file lies.
        arms: every arm, the design's first.
    """

    spec: AblationSpec
    base: DecoderConfig
    path: Path
    arms: tuple["Arm", ...]

    @cached_property
    def cells(self) -> dict[str, Levels]:
        """Arm id → levels, for the arms of the design."""
        return {arm.arm_id: arm.levels for arm in self.arms if arm.in_design}

    @cached_property
    def compared(self) -> dict[str, tuple[Compared, ...]]:
        """Hypothesis → the arms it compares; see `orchestrator.spec.compared.compared`.

        Raises:
            ConfigError: every hypothesis whose arms do not fit.
        """
        return compared_by_name(self.spec, self.cells)


def load_spec(path: Path, profile: str | None = None) -> Loaded:
    """Read and check an ablation file together with its base configuration.

    Args:
        path: the file.
        profile: one of its profiles (see `profiles`); None takes the file as it stands.

    A level may be named by a bare number (``0.005: {...}``); its name is then the shortest
    decimal text of that number, wherever the file names the level.

    Raises:
        ConfigError: every mistake found, one line each, as ``file: key.path: complaint``.
    """
    from orchestrator.spec.check_file import (
        find_problems,  # the checks know the schema, not it them
    )
    from orchestrator.spec.profiles import apply_profile

    read = load_yaml(path)
    if "space" in read and "factors" not in read:
        raise ConfigError(f"{path}: has a space and no factors: it is a search; use `search`")
    if read and set(read) <= set(DecoderConfig.model_fields):
        raise ConfigError(
            f"{path}: is a decoder configuration, and no ablation; an ablation names it as its "
            f"'base' and says what is varied"
        )
    document, profile_problems = apply_profile(read, profile)
    document, problems = _spell_levels(document)
    problems += profile_problems
    broken: frozenset[str] = frozenset()
    try:
        spec = AblationSpec.model_validate(document)
    except ValidationError as error:
        sentences = explain(error, _allowed_keys(document))
        problems += [sentence.replace(".[key]:", ":", 1) for sentence in sentences]
        spec, broken = _salvage(document, error)
    problems = [f"{path}: {problem}" for problem in problems]
    base, base_problems = _load_base(spec, document, path)
    arms, check_problems = find_problems(spec, base, broken)
    problems += base_problems
    problems += [f"{path}: {problem}" for problem in check_problems]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    assert base is not None
    return Loaded(spec=spec, base=base, path=path, arms=arms)


def level_text(value: Any) -> Any:
    """The name of a level that YAML read as a number, a truth value or null."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return re.sub(r"e([-+])0+", r"e\1", repr(value))
    return value


def level_names(before: Any, after: Any) -> tuple[str, str]:
    """Names for the levels of a two-level factor: its values themselves where they can be names."""
    try:
        names = check_name(level_text(before)), check_name(level_text(after))
    except (TypeError, ValueError):
        return "before", "after"
    return names if names[0] != names[1] else ("before", "after")


def _load_base(
    spec: AblationSpec, document: Mapping[str, Any], path: Path
) -> tuple[DecoderConfig | None, list[str]]:
    if not isinstance(document.get("base"), str):
        return None, []
    base_path = path.parent / spec.base
    if not base_path.is_file():
        folder = base_path.parent
        names = sorted(str(other.name) for other in folder.glob("*.yaml"))
        listing = f" (in {folder}: {', '.join(names)})" if names else ""
        hint = did_you_mean(base_path.name, names) or listing
        return None, [f"{path}: base: '{spec.base}' is no file; looked for {base_path}{hint}"]
    try:
        return load_config(base_path), []
    except ConfigError as error:
        return None, list(error.problems)


def _spell_levels(document: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A copy of the document with level names that YAML took for numbers turned into text."""
    problems: list[str] = []

    def keys(mapping: Any, where: str) -> Any:
        if not isinstance(mapping, dict):
            return mapping
        spelled = {level_text(key): value for key, value in mapping.items()}
        if len(spelled) < len(mapping):
            problems.append(f"{where}: two keys have the same text; keep one of them")
        return spelled

    def both(mapping: Any, where: str) -> Any:
        mapping = keys(mapping, where)
        if not isinstance(mapping, dict):
            return mapping
        return {key: level_text(value) for key, value in mapping.items()}

    def parts(entry: Any, where: str) -> Any:
        if not isinstance(entry, dict):
            return entry
        entry = dict(entry)
        for name in ("where", "levels", "contrast", "interaction"):
            if isinstance(entry.get(name), dict):
                entry[name] = both(entry[name], f"{where}.{name}")
        return entry

    document = {**document}
    document["factors"] = keys(document.get("factors"), "factors")
    if isinstance(document["factors"], dict):
        document["factors"] = {
            name: keys(levels, f"factors.{name}") for name, levels in document["factors"].items()
        }
    elif document["factors"] is None:
        document["factors"] = {}
    for section in ("hypotheses", "extra_arms"):
        if isinstance(document.get(section), dict):
            entries = keys(document[section], section)
            document[section] = {k: parts(v, f"{section}.{k}") for k, v in entries.items()}
    if isinstance(document.get("arms"), dict):
        document["arms"] = {
            arm: both(cell, f"arms.{arm}") for arm, cell in keys(document["arms"], "arms").items()
        }
    for section in ("include", "exclude"):
        if isinstance(document.get(section), list):
            document[section] = [
                both(cell, f"{section}.{index}") for index, cell in enumerate(document[section])
            ]
    return document, problems


def _allowed_keys(document: Mapping[str, Any]) -> dict[tuple[str, ...], list[str]]:
    """The keys allowed at each place of this document, for `decoder.config.explain`."""

    def names(section: type[Section]) -> list[str]:
        return [field.alias or name for name, field in section.model_fields.items()]

    keys = {
        (): [*names(AblationSpec), "profiles"],
        ("collapse",): names(CollapseSpec),
        ("fraction",): names(Fraction),
        ("greedy",): names(Greedy),
    }
    for name in _mapping(document.get("criteria")):
        keys["criteria", name] = names(Criterion)
    looks = document.get("looks")
    for index in range(len(looks) if isinstance(looks, list) else 0):
        keys["looks", str(index)] = names(Look)
    for name in _mapping(document.get("hypotheses")):
        keys["hypotheses", name] = names(Hypothesis)
        keys["hypotheses", name, "contrast"] = names(Contrast)
        keys["hypotheses", name, "interaction"] = names(Contrast)
    for name in _mapping(document.get("extra_arms")):
        keys["extra_arms", name] = names(ExtraArm)
    return keys


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


_DESIGN_KEYS = ("design", "fraction", "arms", "include", "exclude")
_STAND_INS: dict[str, Any] = {
    "name": "unnamed",
    "question": "?",
    "base": "?",
    "factors": {},
    "seeds": (0,),
    "claim": "?",
    "outcome": "per",
    "direction": "increase",
    "margin": 0.01,
}


def _salvage(
    document: dict[str, Any], error: ValidationError
) -> tuple[AblationSpec, frozenset[str]]:
    """What is left of a malformed document, so that its other mistakes are found as well.

    Returns:
        A spec without the malformed parts, and the factors that lost some; ``*`` stands for
        all of them, and `DESIGN` for the choice of arms.
    """
    broken: set[str] = set()
    left: dict[str, Any] = {**document}
    for item in error.errors():
        at = tuple(item["loc"])
        if at[0] == "factors":
            _drop_factor_part(left, at, broken)
        elif at[0] in ("hypotheses", "extra_arms", "criteria") and len(at) > 1:
            entries = dict(_mapping(left.get(str(at[0]))))
            entry = entries.pop(at[1], None)
            if isinstance(entry, dict) and len(at) > 2 and at[2] in _STAND_INS:
                entries[at[1]] = {**entry, at[2]: _STAND_INS[str(at[2])]}
            elif isinstance(entry, dict) and item["type"] == "extra_forbidden" and len(at) == 3:
                entries[at[1]] = {key: value for key, value in entry.items() if key != at[2]}
            left[str(at[0])] = entries
        else:
            left.pop(str(at[0]), None)
            broken |= {DESIGN} if at[0] in _DESIGN_KEYS else set()
    for name in ("name", "question", "base", "factors", "seeds"):
        left.setdefault(name, _STAND_INS[name])
    try:
        return AblationSpec.model_validate(left), frozenset(broken)
    except ValidationError:
        # One malformed part hid another; its own complaint comes once the first is mended.
        bare = {name: _STAND_INS[name] for name in ("name", "question", "base", "factors", "seeds")}
        return AblationSpec.model_validate(bare), frozenset({"*"})


def _drop_factor_part(left: dict[str, Any], at: tuple[Any, ...], broken: set[str]) -> None:
    factors = dict(_mapping(left.get("factors")))
    if len(at) == 1:
        broken.add("*")
    elif "[key]" in at[1:3]:
        factors.pop(at[1], None)
        broken.add(str(at[1]))
    else:
        broken.add(str(at[1]))
        levels = dict(_mapping(factors.get(at[1])))
        if len(at) > 2:
            levels.pop(at[2], None)
        factors[at[1]] = levels if len(at) > 2 else {}
    left["factors"] = factors
