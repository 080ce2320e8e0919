"""Values given by other fields: ``optim.lr_max_day: ${optim.lr_max}``."""

import re
from collections.abc import Mapping
from typing import Any

from decoder.errors import ConfigError

_REFERENCE = re.compile(r"\$\{\s*([^${}]*?)\s*\}")


def reference(value: Any) -> str | None:
    """The config path that a value refers to; None for a plain value.

    Raises:
        ValueError: it holds ``${`` but is not one reference and nothing else.
    """
    if not isinstance(value, str) or "${" not in value:
        return None
    match = _REFERENCE.fullmatch(value)
    if match is None:
        raise ValueError(
            f"must be exactly '${{section.field}}', since nothing is computed, but got '{value}'"
        )
    return match[1]


def references(values: Mapping[str, Any]) -> dict[str, str]:
    """Config path → the path it takes its value from, for those that take one."""
    found = {}
    for path, value in values.items():
        if (target := reference(value)) is not None:
            found[path] = target
    return found


def follow(values: Mapping[str, Any], targets: Mapping[str, str]) -> dict[str, Any]:
    """`values` with every reference replaced by the value at its end.

    Args:
        values: config path → value, complete.
        targets: `references` of it.

    Raises:
        ConfigError: references that run in a circle.
    """
    result = dict(values)
    for path in targets:
        chain = chain_of(path, targets)
        if chain[-1] in targets:
            circle = " → ".join(chain[chain.index(targets[chain[-1]]) :])
            raise ConfigError(
                f"{path}: its value runs in a circle ({circle} → {targets[chain[-1]]}); "
                "give one of them a value"
            )
        result[path] = values[chain[-1]]
    return result


def chain_of(path: str, targets: Mapping[str, str]) -> list[str]:
    """`path` and all that it refers to in turn, up to a value or to where a circle closes."""
    chain = [path]
    while chain[-1] in targets and targets[chain[-1]] not in chain:
        chain.append(targets[chain[-1]])
    return chain
