"""The seeds of a file: a list, or steps that go on until every claim is decided."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, PlainSerializer, PlainValidator, TypeAdapter

from decoder.marks import Section

MOST_SEEDS = 10_000
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[tuple[Seed, ...], Field(strict=False, max_length=MOST_SEEDS)]


class SeedSteps(Section):
    """Seeds that are trained in steps, with a look after each.

    Attributes:
        start: seeds that every arm is trained with before the first look.
        max: the most seeds that an arm is trained with.
        step: seeds that are trained from one look to the next.
    """

    start: Annotated[int, Field(ge=2, le=MOST_SEEDS)]
    max: Annotated[int, Field(ge=2, le=MOST_SEEDS)]
    step: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = 1

    @property
    def at(self) -> tuple[int, ...]:
        """The number of seeds at each look; the last is at all of them."""
        return (*range(self.start, self.max, self.step), self.max)


class SteppedSeeds(tuple[int, ...]):
    """The seeds 1 to ``steps.max``, of which as many are trained as the claims need.

    Attributes:
        steps: what the file says.
    """

    steps: SeedSteps

    def __new__(cls, steps: SeedSteps) -> Self:
        seeds = super().__new__(cls, range(1, steps.max + 1))
        seeds.steps = steps
        return seeds

    def __getnewargs__(self) -> tuple[SeedSteps]:
        return (self.steps,)


_LISTED: TypeAdapter[tuple[int, ...]] = TypeAdapter(Seeds, config=ConfigDict(strict=True))


def _read(given: Any) -> tuple[int, ...]:
    if isinstance(given, SteppedSeeds):
        return given
    if isinstance(given, Mapping):
        return SteppedSeeds(SeedSteps.model_validate(given))
    return _LISTED.validate_python(given)


def _written(seeds: tuple[int, ...]) -> Any:
    return seeds.steps.model_dump() if isinstance(seeds, SteppedSeeds) else seeds


AnySeeds = Annotated[
    tuple[int, ...],
    PlainValidator(_read, json_schema_input_type=Seeds | SeedSteps),
    PlainSerializer(_written),
]
