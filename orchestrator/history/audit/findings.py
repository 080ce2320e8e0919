"""The one shape of every finding of an audit, and its order and layout for every output."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypedDict


class Weight(IntEnum):
    """How much a finding matters; the lowest number matters most."""

    OVERTURNS = 1
    WEAKENS = 2
    NOTE = 3

    @property
    def title(self) -> str:
        """The weight in words, as headings and ``--json`` have it."""
        return _TITLES[self]


_TITLES = {
    Weight.OVERTURNS: "overturns conclusions",
    Weight.WEAKENS: "weakens conclusions",
    Weight.NOTE: "good to know",
}


@dataclass(frozen=True)
class Finding:
    """One finding of an audit.

    Attributes:
        kind: a fixed short name for findings of this kind, such as ``one_seed``.
        weight: how much it matters.
        title: the finding in one sentence.
        details: sentences with names and numbers, the most important first.
        runs: names of the runs it is about.
        figures: its numbers by name, as JSON values; rates and differences of PER in [0, 1].
    """

    kind: str
    weight: Weight
    title: str
    details: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    figures: Mapping[str, object] = field(default_factory=dict)


class FindingDocument(TypedDict):
    """A finding for ``--json``."""

    kind: str
    weight: str
    title: str
    details: list[str]
    runs: list[str]
    figures: dict[str, object]


def by_weight(findings: Iterable[Finding]) -> dict[Weight, list[Finding]]:
    """The findings of each weight that has any, the heaviest weight first."""
    of_weight: dict[Weight, list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: finding.weight):
        of_weight.setdefault(finding.weight, []).append(finding)
    return of_weight


def finding_document(finding: Finding) -> FindingDocument:
    """A finding as a document."""
    return {
        "kind": finding.kind,
        "weight": finding.weight.title,
        "title": finding.title,
        "details": list(finding.details),
        "runs": list(finding.runs),
        "figures": dict(finding.figures),
    }
