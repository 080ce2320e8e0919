"""The keys of a configuration whose own keys are the user's: files, and parts that files register.

They are plain mappings, so that a record says all of them and can be read without the files.
"""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

if TYPE_CHECKING:
    from decoder.config import DecoderConfig

# Keys of a configuration that are no sections.
ENTRIES = ("extensions", "parts", "files")
# Parameters that every part has, see `decoder.parts`.
USE, KIND = "use", "kind"
OWN_METRIC = "own_"  # before the name of a metric of the user's, in a history and as an outcome
# What an encoder of the user's stands in the place of.
REPLACED = (
    "architecture",
    "n_units",
    "n_layers",
    "bidirectional",
    "h0",
    "layer_norm",
    "rnn_dropout",
    "n_heads",
    "head_units",
    "ff_ratio",
    "position",
    "transformer_dropout",
)


class Entries(dict[str, Any]):
    """Keys that no class names, with plain JSON values; never changed once it is made."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(json.dumps(self, sort_keys=True))

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return Entries, (dict(self),)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        whole = core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())
        return core_schema.no_info_after_validator_function(cls, whole)


def used_parts(parts: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the parts that are used, in the order of their files.

    Args:
        parts: ``NAME.PARAMETER`` → value.
    """
    return tuple(
        path.removesuffix(f".{USE}")
        for path, value in parts.items()
        if path.endswith(f".{USE}") and value is True
    )


def own_metrics(parts: Mapping[str, Any], *, used: bool = False) -> tuple[str, ...]:
    """The history columns of the metrics of the user's.

    Args:
        parts: ``NAME.PARAMETER`` → value.
        used: whether to leave out those that are not used.
    """
    names = used_parts(parts) if used else [path.rpartition(".")[0] for path in parts]
    found = dict.fromkeys(n for n in names if parts.get(f"{n}.{KIND}") == "metric")
    return tuple(f"{OWN_METRIC}{name}" for name in found)


def unused_paths(*configs: Mapping[str, Any]) -> set[str]:
    """The paths that say nothing of the results of flat configurations: places, unused parts."""
    unused = [_unused_in(flat) for flat in configs]
    return {
        path
        for path in set().union(*unused)
        if all(path in own or path not in flat for own, flat in zip(unused, configs, strict=True))
    }


def _unused_in(flat: Mapping[str, Any]) -> set[str]:
    parts = {p.removeprefix("parts."): v for p, v in flat.items() if p.startswith("parts.")}
    places = [path for path in flat if path.startswith("extensions.")]
    extensions = [path.removeprefix("extensions.") for path in places]
    return {*places, *(without_effect(extensions, parts) if places else ())}


def without_effect(extensions: Iterable[str], parts: Mapping[str, Any]) -> set[str]:
    """The config paths that a configuration's parts leave without an effect.

    Parameters of a part that is not used have none, and files of parts have none if no part is
    used; an encoder of the user's leaves the layers of ours without one.

    Args:
        extensions: files of parts, as written.
        parts: ``NAME.PARAMETER`` → value.
    """
    used = used_parts(parts)
    idle = {f"parts.{path}" for path in parts if path.partition(".")[0] not in used}
    if not used:
        idle |= {f"files.{file}" for file in extensions}
    if any(parts.get(f"{name}.{KIND}") == "encoder" for name in used):
        idle |= {f"model.{name}" for name in REPLACED}
    return idle


def with_file(config: "DecoderConfig", written: str, sha256: str) -> "DecoderConfig":
    """The configuration with a file that its result depends on.

    Args:
        written: the file as the configuration names it.
        sha256: hex SHA-256 of its content. Runs with other content are other runs.
    """
    return config.model_copy(update={"files": Entries({**config.files, written: sha256})})
