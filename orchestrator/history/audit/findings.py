"""The one shape of every finding of an audit, and the order in which every output has them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import groupby

from orchestrator.history.audit.wording import sentences


class Weight(StrEnum):
    """How much a finding matters, the heaviest first, as headings and ``--json`` say it."""

    OVERTURNS = "overturns conclusions"
    WEAKENS = "weakens conclusions"
    NOTE = "good to know"


@dataclass(frozen=True)
class Finding:
    """One finding of an audit; ``templates/findings.j2`` has the words of each kind.

    Attributes:
        kind: a fixed short name for findings of this kind, such as ``one_seed``.
        weight: how much it matters.
        facts: what its sentences name and count, by the arguments of the kind's template.
        runs: names of the runs it is about.
        figures: its numbers by name, as JSON values; rates and differences of PER in [0, 1].
    """

    kind: str
    weight: Weight
    facts: Mapping[str, object]
    runs: tuple[str, ...] = ()
    figures: Mapping[str, object] = field(default_factory=dict)

    @cached_property
    def _sentences(self) -> tuple[str, ...]:
        return sentences("findings.j2", self.kind, self.facts)

    @property
    def title(self) -> str:
        """The finding in one sentence."""
        return self._sentences[0]

    @property
    def details(self) -> tuple[str, ...]:
        """Sentences with names and numbers, the most important first."""
        return self._sentences[1:]


def by_weight(findings: Iterable[Finding]) -> dict[Weight, list[Finding]]:
    """The findings of each weight that has any; they come sorted, the heaviest first."""
    grouped = groupby(findings, key=lambda finding: finding.weight)
    return {weight: list(of_weight) for weight, of_weight in grouped}
