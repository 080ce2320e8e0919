"""The ablation file: its schema, and reading it with every mistake named at once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, ValidationError

from decoder.collapse import CollapseThresholds
from decoder.config import (
    DecoderConfig,
    Probability,
    Section,
    did_you_mean,
    explain,
    load_config,
)
from decoder.errors import ConfigError
from decoder.strict_yaml import load_yaml

if TYPE_CHECKING:
    from orchestrator.design import Arm

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


def check_name(name: str) -> str:
    """`name` itself, if it can be a folder name.

    Raises:
        ValueError: it is empty, too long, starts with a dot or holds other characters.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{name!r} is no name; 1 to 64 of the characters A-Z a-z 0-9 . _ - are allowed, "
            "and no dot at the front"
        )
    return name


Name = Annotated[str, AfterValidator(check_name)]
Sentence = Annotated[str, Field(min_length=1)]
Changes = dict[str, Any]  # dotted config path → value
Outcome = Literal["per", "collapsed", "escape_step"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Contrast(Section):
    """Two levels of one factor that a hypothesis compares.

    Attributes:
        factor: the factor's name.
        from_level: the reference level (``from`` in YAML).
        to_level: the level whose effect is claimed (``to`` in YAML).
    """

    factor: Name
    from_level: Annotated[Name, Field(alias="from")]
    to_level: Annotated[Name, Field(alias="to")]


class Hypothesis(Section):
    """A claim about a contrast, fixed before the first run.

    Attributes:
        claim: the claim in one sentence.
        contrast: what is compared.
        where: the level of every other factor in which it is compared.
        interaction: a second contrast; the effect is then the effect of `contrast` at its
            ``to`` level minus that at its ``from`` level, taken per seed.
        outcome: ``per`` (final validation PER), ``collapsed`` (share of runs) or
            ``escape_step`` (steps to leave the blank plateau, censored at the budget).
        direction: whether the claim says that the outcome increases or decreases.
        margin: smallest effect that matters, in the outcome's unit.
        family: hypotheses of one family share one Holm correction.
    """

    claim: Sentence
    contrast: Contrast
    where: dict[Name, Name] = Field(default_factory=dict)
    interaction: Contrast | None = None
    outcome: Outcome
    direction: Literal["increase", "decrease"]
    margin: PositiveFloat
    family: Name = "confirmatory"


class ExtraArm(Section):
    """An arm outside the design, for instance a user's own full configuration.

    Attributes:
        levels: factor levels it starts from; a factor left out stays as in the base.
        set: config paths it changes on top.
        note: what it is, for the report.
    """

    levels: dict[Name, Name] = Field(default_factory=dict)
    set: Changes = Field(default_factory=dict)
    note: str = ""


class CollapseSpec(Section):
    """Thresholds of `decoder.collapse.CollapseThresholds`, as configuration."""

    emitted_ratio: Probability = 0.05
    n_distinct: PositiveInt = 2
    n_evaluations: PositiveInt = 3

    def thresholds(self) -> CollapseThresholds:
        return CollapseThresholds(self.emitted_ratio, self.n_distinct, self.n_evaluations)


class AblationSpec(Section):
    """One YAML file: a question, a base configuration, factors, a design, seeds, hypotheses.

    Attributes:
        name: the folder of its results.
        question: what is asked, in a sentence or two.
        base: a decoder configuration, relative to the file.
        set: config paths changed in every arm.
        factors: factor → level → config paths; the first level of each is its base level.
        design: ``factorial`` crosses all levels; ``one_factor`` is the base plus each other
            level alone.
        extra_arms: arms beside the design.
        seeds: seeds, each of which every arm is trained with.
        hypotheses: name → claim.
        collapse: when a run counts as collapsed.
        alpha: family-wise error rate.
    """

    name: Name
    question: Sentence
    base: str
    set: Changes = Field(default_factory=dict)
    factors: dict[Name, dict[Name, Changes]]
    design: Literal["factorial", "one_factor"] = "factorial"
    extra_arms: dict[Name, ExtraArm] = Field(default_factory=dict)
    seeds: Annotated[tuple[Seed, ...], Field(strict=False)]
    hypotheses: dict[Name, Hypothesis] = Field(default_factory=dict)
    collapse: CollapseSpec = CollapseSpec()
    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05


def levels_of(spec: AblationSpec) -> Mapping[str, tuple[str, ...]]:
    """Factor → its level names, in the order of the file."""
    return {name: tuple(levels) for name, levels in spec.factors.items()}


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


def load_spec(path: Path) -> Loaded:
    """Read and check an ablation file together with its base configuration.

    A level may be named by a bare number (``0.005: {...}``); its name is then the shortest
    decimal text of that number, wherever the file names the level.

    Raises:
        ConfigError: every mistake found, one line each, as ``file: key.path: complaint``.
    """
    from orchestrator.checks import find_problems  # the checks know the schema, not it them

    document, problems = _spell_levels(load_yaml(path))
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
    return document, problems


def _allowed_keys(document: Mapping[str, Any]) -> dict[tuple[str, ...], list[str]]:
    """The keys allowed at each place of this document, for `decoder.config.explain`."""

    def names(section: type[Section]) -> list[str]:
        return [field.alias or name for name, field in section.model_fields.items()]

    keys = {(): names(AblationSpec), ("collapse",): names(CollapseSpec)}
    for name in _mapping(document.get("hypotheses")):
        keys["hypotheses", name] = names(Hypothesis)
        keys["hypotheses", name, "contrast"] = names(Contrast)
        keys["hypotheses", name, "interaction"] = names(Contrast)
    for name in _mapping(document.get("extra_arms")):
        keys["extra_arms", name] = names(ExtraArm)
    return keys


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


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
        all of them.
    """
    broken: set[str] = set()
    left: dict[str, Any] = {**document}
    for item in error.errors():
        at = tuple(item["loc"])
        if at[0] == "factors":
            _drop_factor_part(left, at, broken)
        elif at[0] in ("hypotheses", "extra_arms") and len(at) > 1:
            entries = dict(_mapping(left.get(str(at[0]))))
            entry = entries.pop(at[1], None)
            if isinstance(entry, dict) and len(at) > 2 and at[2] in _STAND_INS:
                entries[at[1]] = {**entry, at[2]: _STAND_INS[str(at[2])]}
            elif isinstance(entry, dict) and item["type"] == "extra_forbidden" and len(at) == 3:
                entries[at[1]] = {key: value for key, value in entry.items() if key != at[2]}
            left[str(at[0])] = entries
        else:
            left.pop(str(at[0]), None)
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
