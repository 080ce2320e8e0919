"""References to the values of other config paths, as in ``optim.lr_max_day: ${optim.lr_max}``."""

import re
from collections.abc import Mapping
from typing import Any

from decoder.errors import ConfigError

_REFERENCE = re.compile(r"\$\{\s*([^${}]*?)\s*\}")


def reference(value: Any) -> str | None:
    """The config path that a value refers to; None for a plain value.

    Raises:
        ValueError: the value contains ``${`` but is not exactly one reference.
    """
    if not isinstance(value, str) or "${" not in value:
        return None
    match = _REFERENCE.fullmatch(value)
    if match is None:
        raise ValueError(
            f"must be exactly '${{section.field}}', but got '{value}'; expressions are not computed"
        )
    return match[1]


def references_in(values: Mapping[str, Any]) -> dict[str, str]:
    """Config path → the path whose value it takes, for values that are references."""
    targets = {path: reference(value) for path, value in values.items()}
    return {path: target for path, target in targets.items() if target is not None}


def follow(values: Mapping[str, Any], targets: Mapping[str, str]) -> dict[str, Any]:
    """Replace every reference by a value, through other references if necessary.

    Args:
        values: config path → value, for every path.
        targets: the result of `references_in`.

    Raises:
        ConfigError: references form a cycle.
    """
    result = dict(values)
    for path in targets:
        chain = chain_of(path, targets)
        if chain[-1] in targets:
            circle = " → ".join(chain[chain.index(targets[chain[-1]]) :])
            raise ConfigError(
                f"{path}: its reference is part of a cycle ({circle} → {targets[chain[-1]]}); "
                "give one of these paths a value"
            )
        result[path] = values[chain[-1]]
    return result


def chain_of(path: str, targets: Mapping[str, str]) -> list[str]:
    """`path` and the paths it refers to in turn, up to a value or to where a cycle closes."""
    chain = [path]
    while chain[-1] in targets and targets[chain[-1]] not in chain:
        chain.append(targets[chain[-1]])
    return chain
