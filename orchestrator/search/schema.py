"""The shape of a search file: what is varied, and how candidates are chosen, stopped, confirmed."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from decoder.marks import MOST_STEPS, PositiveCount, PositiveReal, PositiveSteps, Real, Section
from orchestrator.spec.limits import MOST_RUNS
from orchestrator.spec.schema import (
    Alpha,
    Changes,
    CollapseSpec,
    Direction,
    Extensions,
    Name,
    Sentence,
    without_empty_extensions,
)
from orchestrator.spec.seeds import Seed, Seeds
from orchestrator.spec.trainer import TrainerSection

Scalar = bool | int | float | str | None
Sampler = Literal["tpe", "cmaes", "gp", "random", "grid", "qmc"]
Sense = Literal["minimize", "maximize"]
Kind = Literal["log", "uniform", "int", "choice"]

# An objective that is no metric of an evaluation: a run's share of its pack's wall time.
SECONDS = "seconds"


# Which names there are depends on the file, see `orchestrator.search.load`.
Objective = Annotated[str, Field(min_length=1, max_length=100)]
FloatRange = Annotated[tuple[Real, Real], Field(strict=False)]
Whole = Annotated[int, Field(ge=-MOST_STEPS, le=MOST_STEPS)]
IntRange = Annotated[tuple[Whole, Whole], Field(strict=False)]
Choices = Annotated[tuple[Scalar, ...], Field(strict=False, min_length=1, max_length=1000)]


class Dimension(Section):
    """The values of one config path; exactly one of log, uniform, int and choice.

    Attributes:
        log: lowest and highest value, searched on a logarithmic scale; with `int_`, true or
            false: whether the scale of the whole numbers is logarithmic.
        uniform: lowest and highest value, searched on a linear scale.
        int_: lowest and highest whole number, both included (``int`` in YAML).
        choice: a list of values without an order.
        step: distance between neighbouring values of `int_`.
        points: number of values in a grid, both ends included; for `log` and `uniform`, and
            needed only by the grid sampler.
        when: other path of the space → value. The path is searched only where all of them hold;
            elsewhere it keeps the base's value.
    """

    log: FloatRange | bool | None = None
    uniform: FloatRange | None = None
    int_: Annotated[IntRange | None, Field(alias="int")] = None
    choice: Choices | None = None
    step: PositiveSteps | None = None
    points: Annotated[int, Field(ge=2, le=10_000)] | None = None
    when: dict[str, Scalar] = Field(default_factory=dict, max_length=200)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(kinds := self._kinds()) != 1:
            raise ValueError(
                "must have exactly one of log: [low, high], uniform: [low, high], "
                f"int: [low, high] and choice: [...], but got {' and '.join(kinds) or 'none'}"
            )
        if isinstance(self.log, bool) and self.int_ is None:
            raise ValueError("log: true needs int; for real numbers write log: [low, high]")
        if self.step is not None and (self.int_ is None or self.log is True):
            raise ValueError("step needs int on a linear scale; leave it out")
        if self.points is not None and self.kind not in ("log", "uniform"):
            raise ValueError("points needs log or uniform; leave it out")
        if self.kind != "choice":
            low, high = self.bounds
            if low >= high:
                raise ValueError(f"the lowest value ({low}) must be below the highest ({high})")
            if self.is_log and low <= 0:
                raise ValueError(f"on a logarithmic scale the lowest value ({low}) must be above 0")
        return self

    @property
    def kind(self) -> Kind:
        """The key that gives the values."""
        return self._kinds()[0]

    def _kinds(self) -> list[Kind]:
        given: dict[Kind, bool] = {
            "log": isinstance(self.log, tuple),
            "uniform": self.uniform is not None,
            "choice": self.choice is not None,
            "int": self.int_ is not None,
        }
        return [kind for kind, is_given in given.items() if is_given]

    @property
    def is_log(self) -> bool:
        """Whether its scale is logarithmic."""
        return self.log is not None and self.log is not False

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value of a dimension that is no choice."""
        ends = self.int_ or self.uniform or self.log
        assert isinstance(ends, tuple)
        return ends


Space = Annotated[dict[str, Dimension], Field(max_length=200)]


class Stopping(Section):
    """Early stopping: which candidates continue after a rung, which is a step below the budget.

    Attributes:
        method: ``asha`` continues with the best 1/`reduction_factor` of all candidates at a rung
            so far (Li et al. 2020, here for a whole batch at once); ``hyperband`` does so in
            brackets with different first rungs, so that slow starters get a chance (Li et al.
            2018); ``none`` trains every candidate to the end of its budget.
        min_steps: the first rung. Each further rung is `reduction_factor` times as late, moved
            to the next evaluation.
        reduction_factor: ratio of the steps of neighbouring rungs, and of the candidates before
            and after a rung.
    """

    method: Literal["none", "asha", "hyperband"] = "none"
    min_steps: PositiveSteps | None = None
    reduction_factor: Annotated[int, Field(ge=2, le=1000)] = 3

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.min_steps is None) != (self.method == "none"):
            raise ValueError("asha and hyperband need min_steps, and method none must not have it")
        return self


class Confirm(Section):
    """The confirmation: the best candidates and the base are trained again on fresh seeds.

    Attributes:
        best: how many candidates of each arm are confirmed, by their score in the search.
        seeds: none of them may be among the seeds of the search.
        margin: smallest improvement over the base that matters, in the first objective's unit.
    """

    best: PositiveCount = 3
    seeds: Annotated[Seeds, Field(min_length=2)]
    margin: PositiveReal


class SearchArm(Section):
    """One of several configurations, each tuned with the same number of candidates.

    Attributes:
        set: config paths it changes, on top of the file's ``set``.
        space: dimensions added to the file's ``space``, or replacing some of them.
    """

    set: Changes = Field(default_factory=dict)
    space: Space = Field(default_factory=dict)


class ArmClaim(Section):
    """A claim about the best candidates of two arms, decided on the confirmation's seeds.

    Attributes:
        claim: the claim in one sentence.
        from_arm: the reference (``from`` in YAML).
        to_arm: the arm whose best candidate is claimed to differ (``to`` in YAML).
        direction: of the first objective.
        margin: smallest difference that matters.
    """

    claim: Sentence
    from_arm: Annotated[Name, Field(alias="from")]
    to_arm: Annotated[Name, Field(alias="to")]
    direction: Direction
    margin: PositiveReal


class SearchSpec(Section):
    """One YAML file: a question, a base configuration, a space, a budget, a confirmation.

    Attributes:
        name: the folder of its results.
        question: one or two sentences.
        base: path of a decoder configuration, relative to the file.
        trainer: a training script of your own, in place of `base`.
        extensions: Python files with parts of your own for our decoder, relative to the file.
        set: config paths changed in every candidate and in the base.
        space: config path → its values; a path named by a ``when`` stands before that ``when``.
        sampler: which of Optuna's samplers proposes candidates.
        sampler_seed: seed of the sampler's random numbers.
        objectives: name → minimize or maximize. One or two of the recorded metrics (at the last
            evaluation) and ``seconds``; the first decides which candidate is best.
        n_candidates: number of candidates, for each arm.
        seeds: each candidate is trained with all of them; its score is the mean.
        batch: number of candidates that are proposed, packed and compared together.
        stopping: see `Stopping`.
        confirm: see `Confirm`; None confirms nothing.
        arms: configurations tuned one after the other; without any, the base is tuned.
        hypotheses: name → claim about the best candidates of two arms.
        collapse: when a run counts as collapsed.
        alpha: family-wise error rate of the confirmation's claims.
    """

    name: Name
    question: Sentence
    base: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    trainer: TrainerSection | None = None
    extensions: Extensions = ()
    set: Changes = Field(default_factory=dict)
    space: Space
    sampler: Sampler = "tpe"
    sampler_seed: Seed = 0
    objectives: dict[Objective, Sense] = {"per": "minimize"}
    n_candidates: Annotated[int, Field(gt=0, le=MOST_RUNS)]
    seeds: Annotated[Seeds, Field(min_length=1)]
    batch: PositiveCount = 8
    stopping: Stopping = Stopping()
    confirm: Confirm | None = None
    arms: dict[Name, SearchArm] = Field(default_factory=dict, max_length=100)
    hypotheses: dict[Name, ArmClaim] = Field(default_factory=dict, max_length=500)
    collapse: CollapseSpec = CollapseSpec()
    alpha: Alpha = 0.05

    @model_serializer(mode="wrap")
    def _without_empty(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_empty_extensions(serialize(self))

    @property
    def first(self) -> str:
        """The objective that decides which candidate is best."""
        return next(iter(self.objectives))

    @property
    def sign(self) -> int:
        """+1 if a smaller first objective is better, else -1."""
        return 1 if self.objectives[self.first] == "minimize" else -1
