"""The sections of a configuration, one within another, and the dotted paths of their fields."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import JsonValue

from decoder.marks import Section
from decoder.sections import AugmentConfig, DataConfig, ModelConfig
from decoder.training_sections import EvaluationConfig, LossConfig, OptimConfig, TrainConfig

_TYPES: Mapping[str, type[Section]] = {
    "data": DataConfig,
    "augment": AugmentConfig,
    "model": ModelConfig,
    "loss": LossConfig,
    "optim": OptimConfig,
    "train": TrainConfig,
    "evaluation": EvaluationConfig,
}
SECTIONS = tuple(_TYPES)


class Marks(NamedTuple):
    """The marks of a field, see `decoder.marks.mark`, and its default as a plain JSON value."""

    per_run: bool
    not_identity: bool
    added: bool
    idle_if: Mapping[str, Sequence[JsonValue]]
    only_if: Mapping[str, Sequence[JsonValue]]
    default: JsonValue


@functools.cache
def sections() -> Mapping[str, type[Section]]:
    """The dotted path of every section → its class; those within others come after these."""
    inner = {
        f"{section}.{name}": field.annotation
        for section, model in _TYPES.items()
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
    return {**_TYPES, **inner}


def unflatten(flat: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The inverse of `decoder.config.flatten`, without validation."""
    nested: dict[str, dict[str, Any]] = {}
    for path, value in flat.items():
        section, name = split_path(path)
        outer, _, inner = section.partition(".")
        place = nested.setdefault(outer, {})
        if inner:
            place = place.setdefault(inner, {})
        place[name] = value
    return nested


def split_path(path: str) -> tuple[str, str]:
    """The section of a config path, and the name of the field in it.

    The names of files, and of parts with their parameters, hold dots of their own.
    """
    above, _, name = path.rpartition(".")
    if above in sections():
        return above, name
    section, _, name = path.partition(".")
    return section, name
