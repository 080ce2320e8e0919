"""What ablation and search files share: the keys at each place, and the base configuration."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import ValidationError

from decoder.complaints import explain
from decoder.config import DecoderConfig, load_config, with_extensions
from decoder.errors import ENOUGH_PROBLEMS, ConfigError
from decoder.marks import Section
from decoder.strict_yaml import load_yaml
from orchestrator.spec.configuration import Configuration
from orchestrator.spec.names import check_name, hint
from orchestrator.spec.shipped import shipped_ablations
from orchestrator.spec.slips import mend
from orchestrator.spec.trainer import TrainerSection
from orchestrator.spec.trainer_base import load_command


def explain_file(
    model: type[Section],
    error: ValidationError,
    document: Mapping[str, Any],
    more_keys: Sequence[str] = (),
) -> list[str]:
    """What is wrong with a file, one sentence a mistake, with the keys allowed at each place.

    Args:
        document: the file's content.
        more_keys: top-level keys that the file may have beside those of the model.
    """
    keys: dict[tuple[str, ...], list[str]] = {(): list(more_keys)}
    for item in error.errors(include_url=False)[:ENOUGH_PROBLEMS]:
        place = tuple(str(part) for part in item["loc"])
        if item["type"] in ("extra_forbidden", "model_type"):
            place = place[:-1] if item["type"] == "extra_forbidden" else place
            keys[place] = _keys_of(_section_at(model, place)) + ([] if place else [*more_keys])
    return explain(error, document, keys, mend)


def load_start(path: Path, document: Mapping[str, Any]) -> Configuration | None:
    """The configuration that a file starts from: that of its base, or of its trainer.

    Args:
        document: the file's content.

    Returns:
        None if neither can be told; the shape of the file is then wrong.

    Raises:
        ConfigError: it cannot be read, or both or none are given.
    """
    base, trainer = document.get("base"), document.get("trainer")
    if base is not None and trainer is not None:
        raise ConfigError(
            f"{path}: trainer: stands beside 'base'; keep 'base' for our decoder, or 'trainer', "
            "which has a base of its own"
        )
    extensions = document.get("extensions") or []
    if trainer is not None and extensions:
        raise ConfigError(
            f"{path}: extensions: are parts for our decoder, but 'trainer' trains without it; "
            "remove them"
        )
    if trainer is not None:
        try:
            return load_command(path, TrainerSection.model_validate(trainer))
        except ValidationError:
            return None
    if "base" not in document:
        raise ConfigError(f"{path}: base: this key is required, but missing; add it")
    if not isinstance(base, str) or not base:
        return None
    config = load_base(path, base)
    if not isinstance(extensions, list) or not all(isinstance(one, str) for one in extensions):
        return config
    try:
        return with_extensions(config, extensions, path.parent) if extensions else config
    except ConfigError as error:
        raise ConfigError([f"{path}: {problem}" for problem in error.problems]) from None


def load_base(path: Path, base: str) -> DecoderConfig:
    """The base configuration that a file names, relative to its own folder or, if there is no such
    file, to the folder of the ablations that ship.

    Raises:
        ConfigError: there is no such file in either place, or it has mistakes.
    """
    found = _base_file(path, base)
    try:
        return load_config(found)
    except ConfigError as error:
        raise ConfigError(_of_another_trainer(found) or error.problems) from None


def name_with_extensions(path: Path) -> str | None:
    """The name in an ablation or search whose extensions would run if it were checked as a whole.

    Returns:
        None for a file that, with its base, names no extensions.

    Raises:
        ConfigError: a file cannot be read, or the name is no name.
    """
    document = load_yaml(path)
    base, name = document.get("base"), document.get("name")
    of_base = load_yaml(_base_file(path, base)) if isinstance(base, str) and base else {}
    if not (document.get("extensions") or of_base.get("extensions")):
        return None
    try:
        return check_name(name if isinstance(name, str) else "")
    except ValueError as error:
        raise ConfigError(f"{path}: name: {error}") from None


def _base_file(path: Path, base: str) -> Path:
    """The file of a base, see `load_base`."""
    shipped = shipped_ablations()
    places = [path.parent / base, *([shipped / base] if shipped else [])]
    places = list({place.absolute(): place for place in places}.values())
    # `Path.is_file` raises if the name is too long.
    found = next((place for place in places if os.path.isfile(place)), None)  # noqa: PTH113
    if found is not None:
        return found
    folders = [place.parent for place in places if os.path.isdir(place.parent)]  # noqa: PTH112
    names = sorted({other.name for folder in folders for other in folder.glob("*.yaml")})
    lacking = "" if shipped else "; this installation lacks the bases that ship, so name your own"
    raise ConfigError(
        f"{path}: base: '{base}' is not a file; looked for {' and '.join(map(str, places))}"
        f"{lacking}{hint(places[0].name, names)}"
    )


def _of_another_trainer(path: Path) -> str | None:
    """What to do about a base that is another trainer's configuration; None if it is none."""
    from decoder.foreign_config import read_foreign
    from decoder.importing import find_codebase

    try:
        document = read_foreign(path, environment=None)
        codebase = find_codebase(document, str(path))
    except ConfigError:
        return None
    n_ours = len(DecoderConfig.model_fields.keys() & document)
    if codebase == "ours" or n_ours >= len(document) - n_ours:  # ours, with keys that it has not
        return None
    return (
        f"{path}: is a configuration of the {codebase.upper()} trainer or a fork; translate it "
        f"with `import-config {path} --output FILE`, and name FILE as the base"
    )


def _keys_of(section: type[Section]) -> list[str]:
    """The keys of a section as a file writes them."""
    return [field.alias or name for name, field in section.model_fields.items()]


def _section_at(model: type[Section], place: tuple[str, ...]) -> type[Section]:
    """The model of the section at a location: keys, names of entries and indices from the top."""
    at: Any = model
    for part in place:
        if isinstance(at, type) and issubclass(at, Section):
            fields = dict(zip(_keys_of(at), at.model_fields.values(), strict=True))
            at = _without_options(fields[part].annotation)
        else:  # an entry of a mapping or list
            at = _without_options(next(one for one in reversed(get_args(at)) if one is not ...))
    assert isinstance(at, type) and issubclass(at, Section)
    return at


def _without_options(annotation: Any) -> Any:
    """The type behind ``Annotated`` and behind "or None"."""
    if get_origin(annotation) is Annotated:
        return _without_options(get_args(annotation)[0])
    options = [one for one in get_args(annotation) if one is not type(None)]
    return _without_options(options[0]) if type(None) in get_args(annotation) else annotation
