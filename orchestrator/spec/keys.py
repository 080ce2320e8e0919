"""The keys that a file may have at each place, read from the models that describe it."""

from typing import Annotated, Any, get_args, get_origin

from pydantic import ValidationError

from decoder.marks import Section


def allowed_keys(model: type[Section], error: ValidationError) -> dict[tuple[str, ...], list[str]]:
    """The keys allowed beside each unknown key, as `decoder.complaints.explain` takes them.

    Args:
        model: the model of the file.
        error: what validating the file against the model raised.

    Returns:
        Location of a mapping in the file → the keys it may have.
    """
    places = {
        tuple(str(part) for part in item["loc"][:-1])
        for item in error.errors(include_url=False)
        if item["type"] == "extra_forbidden"
    }
    return {place: keys_of(section_at(model, place)) for place in places}


def keys_of(section: type[Section]) -> list[str]:
    """The keys of a section as a file writes them."""
    return [field.alias or name for name, field in section.model_fields.items()]


def section_at(model: type[Section], place: tuple[str, ...]) -> type[Section]:
    """The model of the section at a location: keys, names of entries and indices from the top."""
    at: Any = model
    for part in place:
        if isinstance(at, type) and issubclass(at, Section):
            fields = dict(zip(keys_of(at), at.model_fields.values(), strict=True))
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
