"""The settings of a user's trainer: nested mappings as dotted paths, and interpolation."""

import math
from collections.abc import Mapping
from typing import Any

from decoder.interpolation import follow


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as ``{dotted path: value}``, in their order.

    A list is one value, and so is a mapping that has no keys, or a key with a dot or that is no
    text, since no path could name what is in it.
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value and all(map(_is_part, value)):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _is_part(key: object) -> bool:
    return isinstance(key, str) and "." not in key and key != ""


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *above, name = path.split(".")
        at = nested
        for part in above:
            at = at.setdefault(part, {})
        at[name] = value
    return nested


def as_json(value: Any) -> Any:
    """A value as JSON has it: keys as text, and infinite numbers and NaN as YAML writes them."""
    if isinstance(value, Mapping):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    return value


def interpolated(
    written: Mapping[str, Any], where: str, environment: Mapping[str, str]
) -> dict[str, Any]:
    """The settings with their interpolations replaced by values, as OmegaConf resolves them.

    An interpolation may stand for a mapping, whose keys are then settings of their own.

    Args:
        written: dotted path → value.
        where: the start of every error message.
        environment: the variables that ``oc.env`` reads.

    Raises:
        ConfigError: an interpolation leads nowhere, or back to itself.
    """
    if not any(_may_lead_on(value) for value in written.values()):
        return dict(written)
    return flatten(follow(unflatten(written), where, environment))


def _may_lead_on(value: Any) -> bool:
    if isinstance(value, list | Mapping):
        return any(map(_may_lead_on, value.values() if isinstance(value, Mapping) else value))
    return isinstance(value, str) and "${" in value
