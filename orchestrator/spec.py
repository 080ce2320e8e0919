"""The ablation file: its schema, and every check that needs nothing but the file and its base."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from decoder.collapse import CollapseThresholds
from decoder.config import Probability, Section

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")]
Changes = dict[str, Any]  # dotted config path → value
Outcome = Literal["per", "collapsed", "escape_step"]


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

    claim: str
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
    question: str
    base: str
    set: Changes = Field(default_factory=dict)
    factors: dict[Name, dict[Name, Changes]]
    design: Literal["factorial", "one_factor"] = "factorial"
    extra_arms: dict[Name, ExtraArm] = Field(default_factory=dict)
    seeds: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]
    hypotheses: dict[Name, Hypothesis] = Field(default_factory=dict)
    collapse: CollapseSpec = CollapseSpec()
    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05


def levels_of(spec: AblationSpec) -> Mapping[str, tuple[str, ...]]:
    """Factor → its level names, in the order of the file."""
    return {name: tuple(levels) for name, levels in spec.factors.items()}
