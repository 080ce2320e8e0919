"""The search file's shape: what is varied, how candidates are chosen, stopped and confirmed."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from decoder.complaints import did_you_mean
from decoder.marks import Section
from orchestrator.spec.schema import METRICS, Alpha, Changes, CollapseSpec, Name, Seed, Sentence

Scalar = bool | int | float | str | None
Sampler = Literal["tpe", "cmaes", "gp", "random", "grid", "qmc"]
Sense = Literal["minimize", "maximize"]
Kind = Literal["log", "uniform", "int", "choice"]

# Beside the metrics of the last evaluation: a run's share of its pack's wall time.
SECONDS = "seconds"


def _check_objective(name: str) -> str:
    known = (*METRICS, SECONDS)
    if name not in known:
        hint = did_you_mean(name, known) or f" (allowed: {', '.join(known)})"
        raise ValueError(f"'{name}' is no objective{hint}")
    return name


Objective = Annotated[str, AfterValidator(_check_objective)]
FloatRange = Annotated[tuple[float, float], Field(strict=False)]
IntRange = Annotated[tuple[int, int], Field(strict=False)]
Choices = Annotated[tuple[Scalar, ...], Field(strict=False, min_length=1)]


class Dimension(Section):
    """The values one config path may take; exactly one of log, uniform, int and choice.

    Attributes:
        log: lowest and highest value, searched on a logarithmic scale; beside `int` true or
            false, whether its scale is logarithmic.
        uniform: lowest and highest value, searched on their own scale.
        int_: lowest and highest whole number, both possible (``int`` in YAML).
        choice: the values themselves.
        step: distance of neighbouring whole numbers of `int_`.
        points: of `log` and `uniform`, and needed for the grid sampler alone: values a grid
            takes, both ends included.
        when: searched only where these other paths of the space have these values; elsewhere it
            stays as in the base.
    """

    log: FloatRange | bool | None = None
    uniform: FloatRange | None = None
    int_: Annotated[IntRange | None, Field(alias="int")] = None
    choice: Choices | None = None
    step: PositiveInt | None = None
    points: Annotated[int, Field(ge=2)] | None = None
    when: dict[str, Scalar] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        kinds = [
            *(["log"] if isinstance(self.log, tuple) else []),
            *(name for name in ("uniform", "choice") if getattr(self, name) is not None),
            *(["int"] if self.int_ is not None else []),
        ]
        if len(kinds) != 1:
            raise ValueError(
                "must have exactly one of log: [low, high], uniform: [low, high], "
                f"int: [low, high] and choice: [...], but got {' and '.join(kinds) or 'none'}"
            )
        if isinstance(self.log, bool) and self.int_ is None:
            raise ValueError("log: true goes with int; of real numbers say log: [low, high]")
        if self.step is not None and (self.int_ is None or self.log is True):
            raise ValueError("step goes with int on its own scale; leave it out")
        if self.points is not None and self.kind not in ("log", "uniform"):
            raise ValueError("points goes with log and uniform; leave it out")
        if self.kind != "choice":
            low, high = self.bounds
            if low >= high:
                raise ValueError(f"the lowest value ({low}) must be below the highest ({high})")
            if self.is_log and low <= 0:
                raise ValueError(f"on a logarithmic scale the lowest value ({low}) must be above 0")
        return self

    @property
    def kind(self) -> Kind:
        """Which of the four it is."""
        if self.int_ is not None:
            return "int"
        if self.choice is not None:
            return "choice"
        return "uniform" if self.uniform is not None else "log"

    @property
    def is_log(self) -> bool:
        """Whether its scale is logarithmic."""
        return self.log is not None and self.log is not False

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value of a dimension of numbers."""
        found = self.int_ or self.uniform or self.log
        assert isinstance(found, tuple)
        return found


class Stopping(Section):
    """Which candidates are trained on, judged at rungs of the step budget.

    Attributes:
        method: ``asha`` keeps the best 1/`reduction_factor` of all candidates seen at a rung
            (Li et al. 2020, here rung by rung for a whole batch); ``hyperband`` does so in
            brackets that begin at different rungs, so that slow starters get their chance (Li et
            al. 2018); ``none`` trains every candidate to its budget.
        min_steps: the first rung; the others are multiples by `reduction_factor`, each at the
            next evaluation.
        reduction_factor: of rungs, and of candidates from rung to rung.
    """

    method: Literal["none", "asha", "hyperband"] = "none"
    min_steps: PositiveInt | None = None
    reduction_factor: Annotated[int, Field(ge=2)] = 3

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.min_steps is None) != (self.method == "none"):
            raise ValueError("min_steps goes with asha and hyperband, and both need it")
        return self


class Confirm(Section):
    """The price of having chosen: the best candidates once more, on seeds they never saw.

    Attributes:
        best: how many candidates of each arm, by the search's own figure.
        seeds: fresh seeds; the base is trained with them as well.
        margin: smallest gain over the base that matters, in the first objective's unit.
    """

    best: PositiveInt = 3
    seeds: Annotated[tuple[Seed, ...], Field(strict=False, min_length=2)]
    margin: PositiveFloat


class SearchArm(Section):
    """One of several configurations that are tuned with the same budget each.

    Attributes:
        set: config paths it changes on top of the file's ``set``.
        space: dimensions of its own, beside the file's or in their place.
    """

    set: Changes = Field(default_factory=dict)
    space: dict[str, Dimension] = Field(default_factory=dict)


class ArmClaim(Section):
    """A claim about the winners of two arms, decided on the confirmation's seeds.

    Attributes:
        claim: the claim in one sentence.
        from_arm: the reference (``from`` in YAML).
        to_arm: the arm whose winner is claimed to differ (``to`` in YAML).
        direction: of the first objective.
        margin: smallest difference that matters.
    """

    claim: Sentence
    from_arm: Annotated[Name, Field(alias="from")]
    to_arm: Annotated[Name, Field(alias="to")]
    direction: Literal["increase", "decrease", "none"]
    margin: PositiveFloat


class SearchSpec(Section):
    """One YAML file: a question, a base configuration, a space, a budget, a confirmation.

    Attributes:
        name: the folder of its results.
        question: what is asked, in a sentence or two.
        base: a decoder configuration, relative to the file.
        set: config paths changed in every candidate, and in the base it is compared with.
        space: config path → the values it may take; a path that others depend on comes first.
        sampler: which of Optuna's samplers proposes candidates.
        sampler_seed: of the sampler's random numbers.
        objectives: one or two of the recorded metrics (at the last evaluation) and ``seconds``;
            the first decides which candidate is best.
        n_candidates: candidates tried, for each arm.
        seeds: each candidate is trained with all of them; its figure is their mean.
        batch: candidates proposed, packed and judged together.
        stopping: see `Stopping`.
        confirm: see `Confirm`; None confirms nothing.
        arms: configurations tuned one after the other; none means the base alone.
        hypotheses: name → claim about the winners of two arms.
        collapse: when a run counts as collapsed.
        alpha: family-wise error rate of the confirmation.
    """

    name: Name
    question: Sentence
    base: str
    set: Changes = Field(default_factory=dict)
    space: dict[str, Dimension]
    sampler: Sampler = "tpe"
    sampler_seed: Seed = 0
    objectives: dict[Objective, Sense] = {"per": "minimize"}
    n_candidates: PositiveInt
    seeds: Annotated[tuple[Seed, ...], Field(strict=False, min_length=1)]
    batch: PositiveInt = 8
    stopping: Stopping = Stopping()
    confirm: Confirm | None = None
    arms: dict[Name, SearchArm] = Field(default_factory=dict)
    hypotheses: dict[Name, ArmClaim] = Field(default_factory=dict)
    collapse: CollapseSpec = CollapseSpec()
    alpha: Alpha = 0.05

    @property
    def first(self) -> str:
        """The objective that decides which candidate is best."""
        return next(iter(self.objectives))

    @property
    def sign(self) -> int:
        """+1 where a smaller first objective is better, else -1."""
        return 1 if self.objectives[self.first] == "minimize" else -1


def arms_of(spec: SearchSpec) -> Mapping[str, SearchArm]:
    """Arm → what it changes; a search without arms has one, called ``base``."""
    return spec.arms or {"base": SearchArm()}
