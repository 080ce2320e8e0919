"""What is known of a configuration field beside its type: its marks; and what a section is."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
)


def mark(
    *,
    per_run: bool = False,
    not_identity: bool = False,
    added: bool = False,
    idle_if: Mapping[str, Sequence[JsonValue]] | None = None,
    only_if: Mapping[str, Sequence[JsonValue]] | None = None,
) -> Any:
    """What is known of a field beside its type and default.

    Args:
        per_run: the runs of a pack may differ in it; any other field shapes tensors or shared
            draws, and so splits packs.
        not_identity: cannot change a result once the dataset's fingerprint is known.
        added: came after runs had been recorded; its default is what the code did before, and at
            its default it is left out of the identity, so that those runs are still found.
        idle_if: field path → values at which this field has no effect, and is left out of the
            identity. One that matches is enough.
        only_if: field path → values at which this field has an effect. One that matches is
            enough; where none does, it is idle. None of a ``_day`` field stands for the value
            of the rest of the model, here and in `idle_if`.
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


class Section(BaseModel):
    """A frozen group of keys; an unknown key or a value of another type is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
