"""Marks of a configuration field, the base class of a section, and shared field types."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue


def mark(
    *,
    per_run: bool = False,
    not_identity: bool = False,
    added: bool = False,
    idle_if: Mapping[str, Sequence[JsonValue]] | None = None,
    only_if: Mapping[str, Sequence[JsonValue]] | None = None,
) -> Any:
    """Describe what the type and default of a field do not say.

    Args:
        per_run: the runs of a pack may differ in this field. Any other field decides the shape of
            tensors or of shared draws, so runs that differ in it train in separate packs.
        not_identity: the field cannot change a result once the dataset's fingerprint is known.
        added: the field was added after runs had been recorded. Its default does what the code did
            before. At its default the field does not enter the identity, so that the identity of
            recorded runs stays the same.
        idle_if: field path → values. If any of these fields has one of its values, this field has
            no effect and does not enter the identity.
        only_if: field path → values. This field only has an effect if any of these fields has one
            of its values. None in a ``_day`` field stands for the value of the rest of the model,
            here and in `idle_if`.
    """
    return Field(
        json_schema_extra={
            "per_run": per_run,
            "not_identity": not_identity,
            "added": added,
            "idle_if": {path: list(values) for path, values in (idle_if or {}).items()},
            "only_if": {path: list(values) for path, values in (only_if or {}).items()},
        }
    )


PER_RUN = mark(per_run=True)
NOT_IDENTITY = mark(not_identity=True)
ADDED = mark(added=True)
ADDED_PER_RUN = mark(per_run=True, added=True)

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]

# Upper limits, each far above any use, so that a slip (a digit too many, a number of another
# field) is a message and not a failed allocation or an endless loop.
_MOST_REAL = 3e38  # about the largest float32
MOST_STEPS = 10**9  # at 1 ms a step eleven days; official trainers take 120,000
_MOST_BINS = 100_000  # at 20 ms a bin half an hour
_MOST_WIDTH = 2**16  # features, units, trials of a batch; recordings have up to 7,680 features
_MOST_COUNT = 1000  # layers, heads; the official decoders have 5 layers

Real = Annotated[float, Field(ge=-_MOST_REAL, le=_MOST_REAL)]
PositiveReal = Annotated[float, Field(gt=0.0, le=_MOST_REAL)]
NonNegativeReal = Annotated[float, Field(ge=0.0, le=_MOST_REAL)]
Steps = Annotated[int, Field(ge=0, le=MOST_STEPS)]
PositiveSteps = Annotated[int, Field(gt=0, le=MOST_STEPS)]
Bins = Annotated[int, Field(ge=0, le=_MOST_BINS)]
PositiveBins = Annotated[int, Field(gt=0, le=_MOST_BINS)]
Width = Annotated[int, Field(gt=0, le=_MOST_WIDTH)]
Count = Annotated[int, Field(ge=0, le=_MOST_COUNT)]
PositiveCount = Annotated[int, Field(gt=0, le=_MOST_COUNT)]


class Section(BaseModel):
    """A frozen group of keys that refuses unknown keys and values of other types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
