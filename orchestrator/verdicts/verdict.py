"""The verdict on one hypothesis, with everything that a reader needs to check it."""

import math
from dataclasses import dataclass
from functools import cached_property

from orchestrator.plan.document import SeedsAdded
from orchestrator.spec.claims import (
    Correction,
    is_equivalence,
    is_value,
    sign_of,
)
from orchestrator.spec.schema import Hypothesis
from orchestrator.stats.early_stopping import Corrected, StoppingRule, corrected
from orchestrator.stats.effects import Interval
from orchestrator.stats.power import Outlook, outlook
from orchestrator.verdicts.evidence import Evidence
from orchestrator.verdicts.rule import Reason, Word, towards


@dataclass(frozen=True)
class Verdict:
    """The verdict on one hypothesis, with everything needed to check it by hand.

    Attributes:
        name: name of the hypothesis.
        data: name of the data set.
        hypothesis: the claim, with its whole slice in ``where``.
        evidence: arms, counts, differences per seed, effect, intervals, p-value.
        word: the verdict.
        reason: why the claim is refuted or inconclusive; empty if it is supported.
        strong: whether the claim is supported and the whole 95 % interval lies beyond the margin;
            for an equivalence claim, inside the margin.
        altered: whether the hypothesis was altered after it was locked.
        p_adjusted: p-value adjusted for multiple claims; None while runs are missing.
        correction: the method of adjustment, and the claims that are corrected together.
        alpha: level of this look: the family-wise error rate, or the look's share of it.
        look: number of the look that decided; the first is 1.
        n_looks: number of planned looks.
        next_look_seeds: number of seeds at the next look; None if the claim is decided or there is
            no further look.
        mixed: whether the runs that it compares were trained by different decoder sources.
        added: the seeds of the lock, which this verdict is taken on, if seeds were added after
            results of them existed; else None.
        on_all_seeds: the exploratory verdict on all seeds, if seeds were added; else None.
        unregistered: whether the runs existed before the hypothesis was written, see `judge`.
        caveats: what else differs between the arms of runs that existed before.
        rule: when the claim stops, if looks are planned.
    """

    name: str
    data: str
    hypothesis: Hypothesis
    evidence: Evidence
    word: Word
    reason: Reason
    strong: bool
    altered: bool
    p_adjusted: float | None
    correction: Correction
    alpha: float
    look: int
    n_looks: int
    next_look_seeds: int | None
    mixed: bool
    added: SeedsAdded | None = None
    on_all_seeds: "Verdict | None" = None
    unregistered: bool = False
    caveats: tuple[str, ...] = ()
    rule: StoppingRule | None = None

    @cached_property
    def _corrected(self) -> Corrected | None:
        spread = self.evidence.spread_of_effect
        is_usable = self.is_settled and spread > 0 and len(self.evidence.differences) > 2
        if self.rule is None or not is_usable:
            return None
        n_seeds = len(self.evidence.differences)
        return corrected(self.claimed_effect, spread, n_seeds, self.rule, self.claimed_interval)

    @property
    def corrected_effect(self) -> float | None:
        """The effect, corrected for stopping at a look; see `corrected`. None without looks, and
        while the claim is open."""
        return None if self._corrected is None else self.sign * self._corrected.effect

    @property
    def corrected_interval(self) -> Interval | None:
        """The 95 % interval of `corrected_effect`."""
        return None if self._corrected is None else towards(self.sign, self._corrected.interval)

    @cached_property
    def outlook(self) -> Outlook:
        """The effect that this number of seeds could detect, and the number of seeds needed.

        Both use the measured spread and the full correction (alpha divided by the claims of the
        family), the strictest that a later study could meet.
        """
        evidence = self.evidence
        if len(evidence.differences) < 2:
            return Outlook(math.nan, math.nan, None)
        return outlook(
            evidence.test,
            self.hypothesis,
            len(evidence.differences),
            self.alpha / self.n_family,
            evidence.spread,
            evidence.cells[-1].mean,
            [cell.weight for cell in evidence.cells],
        )

    @property
    def detectable(self) -> float:
        """Smallest effect that would be supported with 80 % power; see `outlook`."""
        return self.outlook.detectable

    @property
    def seeds_needed(self) -> int | None:
        """Seeds per arm for 80 % power to detect an effect of the margin; see `outlook`."""
        return self.outlook.seeds_needed

    @property
    def exploratory(self) -> bool:
        """Whether the file declares the claim exploratory, it was altered after its lock, its runs
        existed before it, or it compares runs of different decoder sources."""
        declared = self.hypothesis.exploratory
        return self.altered or self.mixed or self.unregistered or declared

    @property
    def is_settled(self) -> bool:
        """Whether no further look is planned, or none can change the word."""
        return self.word != "inconclusive" or self.next_look_seeds is None

    @property
    def mostly_learned_nothing(self) -> bool:
        """Whether, for a claim about the value of a metric, half the runs of an arm or more
        collapsed, diverged or ended at chance, so that the claim is hardly about decoding."""
        return is_value(self.hypothesis.outcome) and any(
            2 * cell.n_learned_nothing >= cell.n_with_result > 0 for cell in self.evidence.cells
        )

    @property
    def n_family(self) -> int:
        """Number of claims that are corrected together."""
        return len(self.correction.names)

    @property
    def sign(self) -> int:
        """-1 if the claim says that the outcome decreases, +1 if it says that it increases; for
        other claims, the sign of the effect."""
        if self.hypothesis.direction in ("increase", "decrease"):
            return sign_of(self.hypothesis)
        return -1 if self.evidence.shown.effect < 0 else 1

    @property
    def claimed_effect(self) -> float:
        """Effect in the claimed direction."""
        return self.sign * self.evidence.shown.effect

    @property
    def claimed_interval(self) -> Interval:
        """95 % interval in the claimed direction."""
        return towards(self.sign, self.evidence.shown.interval)

    @property
    def claimed_bounds(self) -> Interval:
        """One-sided bounds in the claimed direction; the upper one is what refutes."""
        return towards(self.sign, self.evidence.shown.bounds)

    @property
    def wins(self) -> int:
        """Seeds in which the effect has the claimed direction, for ``either`` that of the mean
        effect; for an equivalence claim, seeds in which it is smaller than the margin."""
        effects = self.evidence.differences.values()
        if is_equivalence(self.hypothesis):
            return sum(abs(value) < self.hypothesis.margin for value in effects)
        return sum(self.sign * value > 0 for value in effects)
