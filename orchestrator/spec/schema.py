"""The shape of an ablation file: its sections, and each key with its type and its meaning.

The ``Attributes:`` sections are what an editor shows of a key, see `orchestrator.spec.json_schema`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
)

from decoder.collapse import CollapseThresholds
from decoder.marks import PositiveReal, PositiveSteps, Probability, Real, Section, Width
from decoder.pack import (
    HELD_OUT_COLUMNS,
    HELD_OUT_WORD_COLUMNS,
    HISTORY_COLUMNS,
    WORD_COLUMNS,
)
from orchestrator.spec.names import NAME_PATTERN, check_name
from orchestrator.spec.trainer import TrainerSection

# What an evaluation records, and so what a hypothesis or a criterion may be about. The counts over
# even trials are left out: they only serve to correct the best evaluation's PER for its selection.
_NO_METRIC = ("step", "n_edits_even", "n_reference_even")
# Those that only some arms record.
SOME_METRICS = (*HELD_OUT_COLUMNS, *WORD_COLUMNS, *HELD_OUT_WORD_COLUMNS)
METRICS = tuple(name for name in (*HISTORY_COLUMNS, *SOME_METRICS) if name not in _NO_METRIC)
# Outcomes with their own rules; every other outcome is a metric's value at the last evaluation.
OWN_OUTCOMES = ("per", "collapsed", "diverged", "escape_step")
OUTCOMES = tuple(dict.fromkeys((*OWN_OUTCOMES, *METRICS)))


# `WithJsonSchema` states what an editor can check, see `orchestrator.spec.json_schema`.
Name = Annotated[
    str,
    AfterValidator(check_name),
    WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$"}),
]
# A name as a value in the file, which YAML may read as a number, a truth value or null.
NameValue = Annotated[Name, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]
Sentence = Annotated[str, Field(min_length=1, max_length=10_000)]
_MOST_CLAIMS = 500  # also criteria; a correction for as many leaves no power
_MOST_SEEDS = 10_000
# Dotted config path → value, or "${other.path}" for that path's value.
Changes = Annotated[
    dict[str, Any],
    Field(max_length=200),
    WithJsonSchema({"type": "object", "x-keys": "config paths"}),
]
Cell = dict[Name, NameValue]  # factor → level
_OWN = {"pattern": "^own_[a-z]"}  # metrics of the user's
# Which names there are depends on the file, see `orchestrator.spec.check_outcomes`.
Outcome = Annotated[
    str,
    Field(min_length=1, max_length=100),
    WithJsonSchema({"type": "string", "anyOf": [{"enum": list(OUTCOMES)}, _OWN]}),
]
Metric = Annotated[
    str,
    Field(min_length=1, max_length=100),
    WithJsonSchema({"type": "string", "anyOf": [{"enum": list(METRICS)}, _OWN]}),
]
Alpha = Annotated[float, Field(gt=0.0, lt=0.5)]
FORMER_NO_DIFFERENCE = "none"  # the former name of the direction `no_difference`, still read
Direction = Annotated[
    Literal["increase", "decrease", "either", "no_difference"],
    BeforeValidator(lambda given: "no_difference" if given == FORMER_NO_DIFFERENCE else given),
]
Extensions = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...],
    Field(strict=False, max_length=100),
]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[tuple[Seed, ...], Field(strict=False, max_length=_MOST_SEEDS)]
Design = Literal["factorial", "one_factor", "leave_one_out", "paired", "path", "fractional", "arms"]


class Contrast(Section):
    """Two levels of one factor that a hypothesis compares.

    Attributes:
        factor: the factor.
        from_level: the reference level (``from`` in YAML).
        to_level: the level whose effect is claimed (``to`` in YAML).
    """

    factor: NameValue
    from_level: Annotated[NameValue, Field(alias="from")]
    to_level: Annotated[NameValue, Field(alias="to")]


class Hypothesis(Section):
    """A claim about a contrast, fixed before the first run.

    Attributes:
        claim: the claim in one sentence.
        contrast: what is compared.
        where: the levels of the other factors at which it is compared. A factor may be left out
            if the design leaves only one choice (`orchestrator.spec.compared.compared`).
        interaction: a second contrast. The effect is then the effect of `contrast` at the ``to``
            level of `interaction` minus that at its ``from`` level, computed per seed.
        outcome: ``per`` (final validation PER), ``collapsed`` or ``diverged`` (share of runs),
            ``escape_step`` (steps to leave the blank plateau, censored at the budget), or a
            metric at the last evaluation.
        direction: what the claim says of the outcome: that it increases, decreases, changes in
            ``either`` direction by at least the margin, or makes ``no_difference`` as large as
            the margin. ``no_difference`` was called ``none``.
        margin: smallest effect that matters, in the unit of the outcome.
        test: ``exact`` for a permutation test (sign-flip; log-rank for ``escape_step``), which
            needs at least six seeds for one claim and seven for three. None takes the studentized
            test that the intervals use. Tests of shares of runs are exact in any case.
        family: hypotheses of one family share one Holm correction.
        exploratory: whether the claim is exploratory. Exploratory claims are corrected together
            by Benjamini-Hochberg, and their verdicts are labelled exploratory.
    """

    claim: Sentence
    contrast: Contrast
    where: Cell = Field(default_factory=dict)
    interaction: Contrast | None = None
    outcome: Outcome
    direction: Direction
    margin: PositiveReal
    test: Literal["exact"] | None = None
    family: Name = "confirmatory"
    exploratory: bool = False


class ExtraArm(Section):
    """An arm outside the design, for instance your own complete configuration.

    Attributes:
        levels: the factor levels it starts from; every other factor stays as in the base.
        set: config paths it changes in addition.
        note: what the arm is, for the report.
        seed_offset: added to each seed, for an A/A control on fresh seeds.
        replicate: if above 0, the same configuration is trained again with the same seeds, as
            separate runs. They show how much results vary without any change.
    """

    levels: Cell = Field(default_factory=dict)
    set: Changes = Field(default_factory=dict)
    note: Annotated[str, Field(max_length=10_000)] = ""
    seed_offset: Annotated[int, Field(ge=0, lt=2**32)] = 0
    replicate: Annotated[int, Field(ge=0, le=_MOST_SEEDS)] = 0


class CollapseSpec(Section):
    """When a run counts as collapsed, see `decoder.collapse.CollapseThresholds`.

    Attributes:
        emitted_ratio: an evaluation is on the plateau if the emitted length is at most this share
            of the target length,
        n_distinct: or if at most this many distinct phonemes are emitted.
        n_evaluations: a run is collapsed if its last `n_evaluations` are all on the plateau.
    """

    emitted_ratio: Probability = 0.05
    n_distinct: Width = 2
    n_evaluations: PositiveSteps = 3

    def thresholds(self) -> CollapseThresholds:
        return CollapseThresholds(self.emitted_ratio, self.n_distinct, self.n_evaluations)


class Fraction(Section):
    """Which fraction of all two-level combinations is trained; give one of the two keys.

    Attributes:
        generators: for instance ``E=ABC`` or ``E=-ABC``; the letters A, B, ... are the factors
            in the order of the file.
        n_arms: a power of two; good generators are then searched for.
    """

    generators: (
        Annotated[tuple[str, ...], Field(strict=False, min_length=1, max_length=100)] | None
    ) = None
    n_arms: PositiveSteps | None = None


class Greedy(Section):
    """The second path of a ``path`` design: at each step, the change with the greatest effect.

    Attributes:
        outcome: the outcome that decides which change comes next.
        direction: whether a change is better when it lowers or when it raises the outcome.
    """

    outcome: Literal["per", "collapsed", "diverged", "escape_step"] = "per"
    direction: Literal["decrease", "increase"] = "decrease"


class Look(Section):
    """A planned interim analysis.

    Attributes:
        seeds: how many seeds, from the start of the list, it uses.
        alpha: the error rate spent on it.
    """

    seeds: PositiveSteps
    alpha: Alpha


class Criterion(Section):
    """What an arm must reach in every seed; give exactly one of the five kinds.

    The kinds are `below`, `above`, `reaches`, `within` and `never`.

    Attributes:
        metric: a metric of the evaluations; every kind but `never` needs it.
        below, above: the limit of the statistic.
        statistic: for `below` and `above`: how a run's evaluations become one number; ``p99`` of
            ``grad_norm`` is over all training steps. None means ``final``.
        reaches: a value that the metric must reach before step `before_step`.
        before_step: the step for `reaches`.
        within: the largest distance of the final value from `of`.
        of: the value for `within`.
        never: how no run may end.
        arms: ids of the arms that must meet the criterion; None means all.
    """

    metric: Metric | None = None
    below: Real | None = None
    above: Real | None = None
    statistic: Literal["final", "best", "mean", "max", "p99"] | None = None
    reaches: Real | None = None
    before_step: PositiveSteps | None = None
    within: PositiveReal | None = None
    of: Real | None = None
    never: Literal["diverged", "collapsed"] | None = None
    arms: (
        Annotated[tuple[str, ...], Field(strict=False, min_length=1, max_length=20_000)] | None
    ) = None


class AblationSpec(Section):
    """One YAML file: a question, a base configuration, factors, a design, seeds, hypotheses.

    Attributes:
        name: the name of the results folder.
        question: the question, in a sentence or two.
        base: the path of a decoder configuration, relative to this file.
        trainer: a training script of your own, in place of `base`.
        extensions: Python files with parts of your own for our decoder, relative to this file;
            their parameters are the config paths ``parts.NAME.PARAMETER``.
        set: config paths changed in every arm.
        factors: factor → level → config paths; the first level of each factor is its base level.
        design: how factors make arms, see `orchestrator.spec.arms`.
        fraction: for design ``fractional``; None takes the smallest fraction of resolution IV.
        greedy: for design ``path``: a second path, ordered by effect; None trains no second path.
        arms: for design ``arms``: arm → the level of every factor.
        include: arms added to the design; each names the level of every factor.
        exclude: levels; every arm of the design that has all levels of one entry is left out.
        extra_arms: arms outside the design.
        seeds: the seeds; every arm is trained once with each.
        hypotheses: name → claim.
        looks: interim analyses; an empty list means one analysis, at the end.
        criteria: name → what an arm must reach.
        collapse: when a run counts as collapsed.
        alpha: family-wise error rate.
        prior: for planning when no records exist: outcome → standard deviation of its per-seed
            differences; for ``collapsed`` and ``diverged`` the share of such runs in the
            reference arm.

    A file may have the key ``profiles`` as well, see `orchestrator.spec.profiles`; profiles are
    applied before this shape is checked.
    """

    name: Name
    question: Sentence
    base: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    trainer: TrainerSection | None = None
    extensions: Extensions = ()
    set: Changes = Field(default_factory=dict)
    factors: Annotated[
        dict[Name, Annotated[dict[Name, Changes], Field(max_length=10_000)]], Field(max_length=200)
    ]
    design: Design = "factorial"
    fraction: Fraction | None = None
    greedy: Greedy | None = None
    arms: dict[Name, Cell] = Field(default_factory=dict, max_length=20_000)
    include: Annotated[tuple[Cell, ...], Field(strict=False, max_length=1000)] = ()
    exclude: Annotated[tuple[Cell, ...], Field(strict=False, max_length=1000)] = ()
    extra_arms: dict[Name, ExtraArm] = Field(default_factory=dict, max_length=10_000)
    seeds: Seeds
    hypotheses: dict[Name, Hypothesis] = Field(default_factory=dict, max_length=_MOST_CLAIMS)
    looks: Annotated[tuple[Look, ...], Field(strict=False, max_length=100)] = ()
    criteria: dict[Name, Criterion] = Field(default_factory=dict, max_length=_MOST_CLAIMS)
    collapse: CollapseSpec = CollapseSpec()
    alpha: Alpha = 0.05
    prior: dict[Outcome, PositiveReal] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_empty(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_empty_extensions(serialize(self))


def without_empty_extensions(document: dict[str, Any]) -> dict[str, Any]:
    """A specification as JSON as it was before a file could name extensions."""
    return {key: value for key, value in document.items() if value or key != "extensions"}


def levels_of(spec: AblationSpec) -> Mapping[str, tuple[str, ...]]:
    """Factor → its level names, in the order of the file."""
    return {name: tuple(levels) for name, levels in spec.factors.items()}
