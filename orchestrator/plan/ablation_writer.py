"""Writes the ablation that finds which of several changes of a configuration changes PER."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

import yaml

from orchestrator.spec.load import level_names
from orchestrator.spec.schema import AblationSpec

_FEWEST_SEEDS = 6  # with fewer no paired claim can be supported, see `orchestrator.stats.power`

Direction = Literal["decrease", "increase"]


class Claim(TypedDict):
    """One hypothesis of an ablation file."""

    claim: str
    contrast: dict[str, str]
    outcome: str
    direction: Direction
    margin: float


class _Common(TypedDict, total=False):
    set: Mapping[str, Any]


class AblationFile(TypedDict):
    """The content of an ablation file, with its keys in the order of the file."""

    name: str
    question: str
    base: str
    set: NotRequired[Mapping[str, Any]]
    factors: dict[str, dict[str, Mapping[str, Any]]]
    design: str
    seeds: list[int]
    hypotheses: dict[str, Claim]


class FactorChange(NamedTuple):
    """One change, which becomes a factor of two levels.

    Attributes:
        path: the config path that names it.
        before, after: config path → value in each level; more than one path if several settings
            change together.
    """

    path: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


def factor_names(paths: Iterable[str]) -> dict[str, str]:
    """Config path → name of its factor: its field, with its section if two share the field."""
    paths = list(paths)
    fields = Counter(path.partition(".")[2] for path in paths)
    names = {}
    for path in paths:
        section, _, field = path.partition(".")
        names[path] = field if fields[field] == 1 else f"{section}-{field}"
    return names


def ablation_of(
    changes: Mapping[str, FactorChange],
    *,
    name: str,
    question: str,
    base: str,
    design: Literal["leave_one_out", "one_factor"],
    margin: float,
    direction: Direction = "increase",
    common: Mapping[str, Any] | None = None,
) -> AblationFile:
    """The content of an ablation with one factor and one claim for each change.

    The claim is that the change, in a ``leave_one_out`` design while all the other changes are
    made, raises or lowers PER. There are as many seeds as these claims need to be testable
    together, and six at least.

    Args:
        changes: name of the factor → its change.
        name: of the ablation.
        question: that it answers.
        base: the file it starts from.
        design: how the changes are combined.
        margin: of every claim, a rate.
        direction: of every claim.
        common: config path → value in every arm; None if the base has all of them.
    """
    verb = "raises" if direction == "increase" else "lowers"
    others = "With the other changes made, " if design == "leave_one_out" else ""
    factors: dict[str, dict[str, Mapping[str, Any]]] = {}
    hypotheses: dict[str, Claim] = {}
    for factor, (path, old, new) in changes.items():
        before, after = level_names(old[path], new[path])
        factors[factor] = {before: old, after: new}
        hypotheses[f"{factor}_matters"[:64]] = {
            "claim": f"{others}{path} {after} instead of {before} {verb} PER.",
            "contrast": {"factor": factor, "from": before, "to": after},
            "outcome": "per",
            "direction": direction,
            "margin": margin,
        }
    in_common: _Common = {"set": common} if common else {}
    ablation: AblationFile = {
        "name": name,
        "question": question,
        "base": base,
        **in_common,
        "factors": factors,
        "design": design,
        "seeds": list(range(1, _FEWEST_SEEDS + 1)),
        "hypotheses": hypotheses,
    }
    ablation["seeds"] = list(range(1, _n_seeds(ablation) + 1))
    return ablation


def _n_seeds(ablation: AblationFile) -> int:
    """The smallest number of seeds with which all claims can be tested together."""
    from orchestrator.stats.reach import untestable  # scipy

    hopeless = untestable(AblationSpec.model_validate(ablation))
    return max([_FEWEST_SEEDS, *(found.seeds_needed or 0 for found in hopeless.values())])


def ablation_yaml(document: Mapping[str, Any]) -> str:
    """An ablation, or its base, as YAML."""
    return yaml.safe_dump(
        dict(document), sort_keys=False, allow_unicode=True, width=96, default_flow_style=None
    )
