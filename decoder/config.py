"""The configuration of one run: loading, dotted overrides, and the identity of a run.

The sections are in `decoder.sections` and `decoder.training_sections`. A default lives in its field
and nowhere else. The marks of a field (`decoder.marks.mark`) say whether it may differ between the
runs of a pack and how it counts towards the identity of a run.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from decoder.atomic import sha256_of
from decoder.combinations import check_combinations
from decoder.complaints import did_you_mean, explain
from decoder.entries import ENTRIES, Entries, without_effect
from decoder.errors import ConfigError
from decoder.extensions import filled_parts, known_parts, place_of, read_entries
from decoder.field_paths import Marks, sections, split_path, unflatten
from decoder.marks import Section
from decoder.sections import AugmentConfig, DataConfig, ModelConfig
from decoder.slips import field_hint
from decoder.strict_yaml import load_yaml
from decoder.training_sections import (
    WORDS_KEY,
    EvaluationConfig,
    LossConfig,
    OptimConfig,
    TrainConfig,
    without_places,
)
from decoder.yaml_lines import with_lines

# Incremented whenever a change of the code changes the numbers that a configuration leads to.
NUMERICS_VERSION = 1


class DecoderConfig(Section):
    """Everything that decides the result of a run, except its seed and its recordings.

    Attributes:
        extensions: file of the user's parts, as written → its absolute path.
        parts: ``NAME.PARAMETER`` → value, for every part that these files register
            (`decoder.parts`).
        files: every file that a result depends on, as written → its SHA-256, which is part of the
            identity of a run.
    """

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    extensions: Annotated[
        Entries,
        WithJsonSchema({"type": "array", "items": {"type": "string"}}),  # as a person writes it
    ] = Field(default_factory=Entries)
    parts: Annotated[Entries, WithJsonSchema({"type": "object"})] = Field(default_factory=Entries)
    files: Annotated[Entries, WithJsonSchema({"type": "object"})] = Field(default_factory=Entries)

    @model_serializer(mode="wrap")
    def _without_empty(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out what is empty, so that records look as before there were files and parts."""
        whole: dict[str, Any] = serialize(self)
        return {key: value for key, value in whole.items() if value or key not in ENTRIES}

    @model_validator(mode="after")
    def _check_combinations(self) -> "DecoderConfig":
        check_combinations(self)
        return self


@functools.cache
def config_paths() -> Mapping[str, Marks]:
    """Every dotted path of a field → its marks."""
    defaults = flatten(DecoderConfig())
    paths = {}
    for above, section_type in sections().items():
        for name, field in section_type.model_fields.items():
            path = f"{above}.{name}"
            if path in sections():
                continue
            extra = field.json_schema_extra
            known: dict[str, Any] = dict(extra) if isinstance(extra, dict) else {}
            paths[path] = Marks(
                per_run=known.get("per_run", False),
                not_identity=known.get("not_identity", False),
                added=known.get("added", False),
                idle_if=known.get("idle_if", {}),
                only_if=known.get("only_if", {}),
                default=defaults[path],
            )
    return paths


_OF_ENTRIES = {
    "extensions": Marks(False, True, False, {}, {}, None),
    "parts": Marks(False, False, False, {}, {}, None),
    "files": Marks(False, False, False, {}, {}, None),
}


def paths_of(config: DecoderConfig) -> Mapping[str, Marks]:
    """Every dotted path of a configuration → its marks, with those of its files and parts.

    The hash of a file that a field names stands under the name of that field, and may differ
    between the runs of a pack if the field may.
    """
    known = config_paths()
    entries = {
        f"{key}.{name}": _OF_ENTRIES[key] for key in ENTRIES for name in getattr(config, key)
    }
    if not entries:
        return known
    for part in (known_parts(config.extensions, config.files) or {}).values():
        for name, (per_run, default) in part.marks.items():
            marks = _OF_ENTRIES["parts"]._replace(per_run=per_run, default=default)
            entries[f"parts.{part.name}.{name}"] = marks
    for name in config.files:
        if name in known or name.startswith(f"{WORDS_KEY}."):
            per_run = name not in known or known[name].per_run
            entries[f"files.{name}"] = _OF_ENTRIES["files"]._replace(per_run=per_run)
    return {**known, **entries}


def changeable_paths(config: DecoderConfig) -> tuple[str, ...]:
    """The dotted paths that a file may change: all but files, which it lists."""
    fixed = ("extensions.", "files.")
    return tuple(path for path in paths_of(config) if not path.startswith(fixed))


def flatten(config: DecoderConfig) -> dict[str, Any]:
    """The configuration as ``{"section.field": value}`` with plain JSON values."""
    flat: dict[str, Any] = {}
    for section, fields in config.model_dump(mode="json").items():
        for name, value in fields.items():
            path = f"{section}.{name}"
            if path in sections():
                flat |= {f"{path}.{inner}": one for inner, one in value.items()}
            else:
                flat[path] = value
    return flat


def parse_config(nested: Mapping[str, Any], where: str) -> DecoderConfig:
    """Validate a nested mapping of sections.

    Args:
        nested: ``{section: {field: value}}``; absent fields take their defaults.
        where: the start of every error message, usually a file.

    Raises:
        ConfigError: all unknown keys, wrong types and impossible values, at once.
    """
    problems: list[str] = []
    whole: dict[str, Any] = dict(nested)
    if whole.get("parts") or whole.get("extensions"):
        whole, problems = filled_parts(whole)
    try:
        config = DecoderConfig.model_validate(whole)
    except ValidationError as error:
        problems += explain(error, whole, config_keys(), _mend)
    if problems:
        raise ConfigError([f"{where}: {text}" for text in problems])
    return config


def load_config(path: Path | str) -> DecoderConfig:
    """Read a decoder configuration from a YAML file.

    Raises:
        ConfigError: the file cannot be read; or see `parse_config`.
    """
    document = load_yaml(Path(path))
    try:
        return parse_config(read_entries(document, Path(path).parent, f"{path}: "), str(path))
    except ConfigError as error:
        raise ConfigError(with_lines(error.problems, Path(path))) from None


def with_extensions(config: DecoderConfig, files: Sequence[str], folder: Path) -> DecoderConfig:
    """The configuration with files of parts, whose parameters become config paths.

    Args:
        config: is not changed; its own files stay, before these.
        files: each absolute, or relative to `folder`. They run, in this order.
        folder: where relative paths start.

    Raises:
        ConfigError: a file is missing or fails, or registers what no configuration could name; or
            two files are written alike.
    """
    nested = config.model_dump(mode="json")
    places = dict(config.extensions)
    for name in files:
        place = place_of(name, folder)
        if places.get(name, place) != place:
            raise ConfigError(
                f"extensions: '{name}' is {place} here, and {places[name]} in the configuration "
                f"that this one starts from; write it as './{name}' here, so that both are loaded"
            )
        if place not in places.values():
            places[name] = place
    nested["extensions"] = places
    return parse_config(read_entries(nested, folder, ""), "extensions")


def override(
    config: DecoderConfig, changes: Mapping[str, Any], where: str = "override"
) -> DecoderConfig:
    """A copy of `config` with dotted paths set to new values, validated as a whole.

    Args:
        config: is not changed.
        changes: ``{"section.field": value}``.
        where: the start of every error message.

    Raises:
        ConfigError: a path is no field (the nearest name is suggested), or a value is impossible.
    """
    known = changeable_paths(config)
    unknown = [
        f"{where}: '{path}' is no config field{did_you_mean(path, known)}"
        for path in changes
        if path not in known
    ]
    if unknown:
        raise ConfigError(unknown)
    return parse_config(unflatten({**flatten(config), **changes}), where)


def explain_parameter(config: DecoderConfig, path: str, value: Any) -> list[str]:
    """What is wrong with a value of a part's parameter; empty if nothing is.

    Args:
        path: ``NAME.PARAMETER``.
    """
    nested = {key: getattr(config, key) for key in ENTRIES}
    return filled_parts({**nested, "parts": {**config.parts, path: value}})[1]


def resolve(config: DecoderConfig) -> DecoderConfig:
    """Fill in every value that follows from another field, so that equal runs compare equal."""
    optim, n_steps = config.optim, config.train.n_steps
    decay_steps = optim.lr_decay_steps if optim.lr_decay_steps is not None else n_steps
    filled = {
        "lr_decay_steps": decay_steps,
        # Added later: it stays None where it only repeats `schedule`, or run ids would change.
        "schedule_day": None if optim.schedule_day == optim.schedule else optim.schedule_day,
        "lr_max_day": optim.lr_max if optim.lr_max_day is None else optim.lr_max_day,
        "lr_min_day": optim.lr_min if optim.lr_min_day is None else optim.lr_min_day,
        "lr_warmup_steps_day": (
            optim.lr_warmup_steps
            if optim.lr_warmup_steps_day is None
            else optim.lr_warmup_steps_day
        ),
        "lr_decay_steps_day": (
            decay_steps if optim.lr_decay_steps_day is None else optim.lr_decay_steps_day
        ),
    }
    return config.model_copy(update={"optim": optim.model_copy(update=filled)})


def run_id(config: DecoderConfig, seed: int, dataset_fingerprint: str, replicate: int = 0) -> str:
    """The identity of a run: 16 hex digits over everything that can change its result.

    Args:
        config: resolved or not; both give the same id.
        seed: the run's seed.
        dataset_fingerprint: of the packed recordings.
        replicate: 0; or the number of a repetition, which trains the same run again to measure
            what the machine alone changes.
    """
    return run_id_of(canonical_json(identity(config)), seed, dataset_fingerprint, replicate)


def run_id_of(
    identity_text: str,
    seed: int,
    dataset_fingerprint: str,
    replicate: int = 0,
    numerics_version: int = NUMERICS_VERSION,
) -> str:
    """The same, of the canonical JSON of an `identity`, which the runs of an arm share."""
    rest: dict[str, Any] = {
        "seed": seed,
        "dataset": dataset_fingerprint,
        "numerics_version": numerics_version,
    }
    if replicate:
        rest["replicate"] = replicate
    # "config" comes first in the order of the keys.
    whole = f'{{"config":{identity_text},{canonical_json(rest)[1:]}'
    return sha256_of(whole.encode())[:16]


def pack_key(config: DecoderConfig) -> str:
    """A key that is equal for configurations that can share a pack: same tensors, same draws."""
    paths, unused = paths_of(config), _idle_by_parts(config)
    kept = {p: v for p, v in flatten(config).items() if p not in unused}
    shared = {p: value for p, value in kept.items() if not paths[p].per_run}
    return digest(shared)[:16]


def identity(config: DecoderConfig) -> dict[str, Any]:
    """The fields of a configuration that can change a result, resolved: path → plain value.

    Two configurations with the same identity have the same results.
    """
    flat, paths = flatten(resolve(config)), paths_of(config)
    kept = {
        path: value
        for path, value in flat.items()
        if not (marks := paths[path]).not_identity and not (marks.added and value == marks.default)
    }
    idle = {path for path in _conditional_paths() if path in kept and _is_idle(paths[path], flat)}
    idle |= _idle_by_parts(config)
    # Augmentations act in the order of their files, and how a file is written does not count.
    named = {f"files.{file}": f"files.{place}" for place, file in enumerate(config.extensions)}
    kept |= without_places(kept, config.files)
    return {named.get(path, path): value for path, value in kept.items() if path not in idle}


@functools.cache
def _conditional_paths() -> tuple[str, ...]:
    """The fields that have no effect at some values of other fields."""
    return tuple(path for path, m in config_paths().items() if m.idle_if or m.only_if)


def idle_paths(config: DecoderConfig) -> set[str]:
    """The fields that have no effect in this configuration, by their marks."""
    flat = flatten(resolve(config))
    idle = {path for path in _conditional_paths() if _is_idle(config_paths()[path], flat)}
    return idle | _idle_by_parts(config)


def _idle_by_parts(config: DecoderConfig) -> set[str]:
    return without_effect(config.extensions, config.parts) if config.extensions else set()


def _is_idle(marks: Marks, flat: Mapping[str, Any]) -> bool:
    """Whether a field has no effect in a resolved, flat configuration."""

    def is_any(conditions: Mapping[str, Sequence[JsonValue]]) -> bool:
        return any(
            (flat[path.removesuffix("_day")] if flat[path] is None else flat[path]) in values
            for path, values in conditions.items()
        )

    if marks.idle_if and is_any(marks.idle_if):
        return True
    return bool(marks.only_if) and not is_any(marks.only_if)


def _mend(place: tuple[str, ...], got: Any) -> str:
    """What another trainer's name of a field is called here, for `decoder.complaints.explain`."""
    return field_hint(place[-1]) if place else ""


def config_keys() -> dict[tuple[str, ...], list[str]]:
    """The names allowed at each level of a configuration, for `decoder.complaints.explain`."""
    keys: dict[tuple[str, ...], list[str]] = {(): list(DecoderConfig.model_fields)}
    for path in config_paths():
        section, name = split_path(path)
        keys.setdefault(tuple(section.split(".")), []).append(name)
    for section in sections():
        *above, name = section.split(".")
        if above:
            keys[tuple(above)].append(name)
    return keys


def digest(value: Any) -> str:
    """Hex SHA-256 of a JSON value; the order of its keys does not count."""
    return sha256_of(canonical_json(value).encode())


def canonical_json(value: Any) -> str:
    """A JSON value as text, the same for every order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
