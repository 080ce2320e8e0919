"""The ablation file's shape: its closed sections, each key with its type and its meaning."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from decoder.collapse import CollapseThresholds
from decoder.complaints import did_you_mean
from decoder.marks import Probability, Section
from decoder.pack import HISTORY_COLUMNS

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")

# What an evaluation records, and so what a hypothesis or a criterion may be about.
# Half the validation trials only serve to judge the choice of an evaluation by the other half.
_NO_METRIC = ("step", "n_edits_even", "n_reference_even")
METRICS = tuple(name for name in HISTORY_COLUMNS if name not in _NO_METRIC)
# Outcomes with rules of their own; any other one is a metric's value at the last evaluation.
OWN_OUTCOMES = ("per", "collapsed", "diverged", "escape_step")


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


def _check_outcome(name: str) -> str:
    known = dict.fromkeys((*OWN_OUTCOMES, *METRICS))
    if name not in known:
        hint = did_you_mean(name, known) or f" (allowed: {', '.join(known)})"
        raise ValueError(f"'{name}' is no outcome{hint}")
    return name


def _check_metric(name: str) -> str:
    if name not in METRICS:
        hint = did_you_mean(name, METRICS) or f" (allowed: {', '.join(METRICS)})"
        raise ValueError(f"'{name}' is no metric of an evaluation{hint}")
    return name


Name = Annotated[str, AfterValidator(check_name)]
Sentence = Annotated[str, Field(min_length=1)]
Changes = dict[str, Any]  # dotted config path → value, or "${other.path}" for that path's value
Cell = dict[Name, Name]  # factor → level
Outcome = Annotated[str, AfterValidator(_check_outcome)]
Metric = Annotated[str, AfterValidator(_check_metric)]
Alpha = Annotated[float, Field(gt=0.0, lt=0.5)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Design = Literal["factorial", "one_factor", "leave_one_out", "paired", "path", "fractional", "arms"]


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
        where: the level of the other factors in which it is compared; what is left out must
            follow from the design (`orchestrator.spec.arms.compared`).
        interaction: a second contrast; the effect is then the effect of `contrast` at its
            ``to`` level minus that at its ``from`` level, taken per seed.
        outcome: ``per`` (final validation PER), ``collapsed`` or ``diverged`` (share of runs),
            ``escape_step`` (steps to leave the blank plateau, censored at the budget), or a
            metric at the last evaluation.
        direction: whether the claim says that the outcome increases, decreases, or ("none")
            changes by less than the margin.
        margin: smallest effect that matters, in the outcome's unit.
        family: hypotheses of one family share one Holm correction.
        exploratory: whether it is one of a table to be looked through, corrected by
            Benjamini-Hochberg with the others of its kind, and its verdict labelled so.
    """

    claim: Sentence
    contrast: Contrast
    where: Cell = Field(default_factory=dict)
    interaction: Contrast | None = None
    outcome: Outcome
    direction: Literal["increase", "decrease", "none"]
    margin: PositiveFloat
    family: Name = "confirmatory"
    exploratory: bool = False


class ExtraArm(Section):
    """An arm outside the design, for instance a user's own full configuration.

    Attributes:
        levels: factor levels it starts from; a factor left out stays as in the base.
        set: config paths it changes on top.
        note: what it is, for the report.
        seed_offset: added to each seed: an A/A control on fresh seeds.
        replicate: above 0, the same configuration and seeds are trained again, as runs of their
            own: what the machine alone changes.
    """

    levels: Cell = Field(default_factory=dict)
    set: Changes = Field(default_factory=dict)
    note: str = ""
    seed_offset: Annotated[int, Field(ge=0, lt=2**32)] = 0
    replicate: Annotated[int, Field(ge=0)] = 0


class CollapseSpec(Section):
    """Thresholds of `decoder.collapse.CollapseThresholds`, as configuration."""

    emitted_ratio: Probability = 0.05
    n_distinct: PositiveInt = 2
    n_evaluations: PositiveInt = 3

    def thresholds(self) -> CollapseThresholds:
        return CollapseThresholds(self.emitted_ratio, self.n_distinct, self.n_evaluations)


class Fraction(Section):
    """Which fraction of all two-level combinations is trained: one of the two.

    Attributes:
        generators: for instance ``E=ABC`` or ``E=-ABC``; the letters A, B, ... are the factors
            in the order of the file.
        n_arms: a power of two; the generators are then searched for.
    """

    generators: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    n_arms: PositiveInt | None = None


class Greedy(Section):
    """Of a ``path``: the search for the order of greatest effect, after the stated one.

    Attributes:
        outcome: what decides which change comes next; one that every run with a result has.
        direction: whether a change is to lower or to raise it.
    """

    outcome: Literal["per", "collapsed", "diverged", "escape_step"] = "per"
    direction: Literal["decrease", "increase"] = "decrease"


class Look(Section):
    """A planned interim look.

    Attributes:
        seeds: it is taken at the first so many seeds of the list.
        alpha: error rate spent on it.
    """

    seeds: PositiveInt
    alpha: Alpha


class Criterion(Section):
    """What an arm must reach in every seed; exactly one of the five kinds.

    Attributes:
        metric: a metric of the evaluations; for every kind but `never`.
        below, above: the statistic must lie there.
        statistic: of `below` and `above`: over the evaluations of a run; ``p99`` of
            ``grad_norm`` over all training steps. None stands for ``final``.
        reaches: a value the metric must reach before step `before_step`.
        within: how far the final value may lie from `of`.
        never: how no run may end.
        arms: ids of the arms it is asked of; None means all.
    """

    metric: Metric | None = None
    below: float | None = None
    above: float | None = None
    statistic: Literal["final", "best", "mean", "max", "p99"] | None = None
    reaches: float | None = None
    before_step: PositiveInt | None = None
    within: PositiveFloat | None = None
    of: float | None = None
    never: Literal["diverged", "collapsed"] | None = None
    arms: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None


class AblationSpec(Section):
    """One YAML file: a question, a base configuration, factors, a design, seeds, hypotheses.

    Attributes:
        name: the folder of its results.
        question: what is asked, in a sentence or two.
        base: a decoder configuration, relative to the file.
        set: config paths changed in every arm.
        factors: factor → level → config paths; the first level of each is its base level.
        design: how factors make arms, see `orchestrator.spec.arms`.
        fraction: of a ``fractional`` design; None takes the smallest of resolution IV.
        greedy: of a ``path``: go it once more, by greatest effect; None does not.
        arms: of design ``arms``: arm → the level of every factor.
        include: cells added to the design; each names the level of every factor.
        exclude: every arm of the design that agrees with one of these is left out.
        extra_arms: arms beside the design.
        seeds: seeds, each of which every arm is trained with.
        hypotheses: name → claim.
        looks: interim looks; none means one look, at the end.
        criteria: name → what an arm must reach.
        collapse: when a run counts as collapsed.
        alpha: family-wise error rate.
        prior: for planning where no record tells it: outcome → standard deviation of its
            per-seed differences; of ``collapsed`` and ``diverged`` the share of runs so ended
            in the reference arm.

    A file may hold ``profiles`` beside these keys, see `orchestrator.spec.profiles`; they are
    applied before this shape is checked.
    """

    name: Name
    question: Sentence
    base: str
    set: Changes = Field(default_factory=dict)
    factors: dict[Name, dict[Name, Changes]]
    design: Design = "factorial"
    fraction: Fraction | None = None
    greedy: Greedy | None = None
    arms: dict[Name, Cell] = Field(default_factory=dict)
    include: Annotated[tuple[Cell, ...], Field(strict=False)] = ()
    exclude: Annotated[tuple[Cell, ...], Field(strict=False)] = ()
    extra_arms: dict[Name, ExtraArm] = Field(default_factory=dict)
    seeds: Annotated[tuple[Seed, ...], Field(strict=False)]
    hypotheses: dict[Name, Hypothesis] = Field(default_factory=dict)
    looks: Annotated[tuple[Look, ...], Field(strict=False)] = ()
    criteria: dict[Name, Criterion] = Field(default_factory=dict)
    collapse: CollapseSpec = CollapseSpec()
    alpha: Alpha = 0.05
    prior: dict[Outcome, PositiveFloat] = Field(default_factory=dict)


def levels_of(spec: AblationSpec) -> Mapping[str, tuple[str, ...]]:
    """Factor → its level names, in the order of the file."""
    return {name: tuple(levels) for name, levels in spec.factors.items()}
