"""Names in a file: which are valid, how YAML's numbers become names, and what a wrong one meant."""

import re
from collections.abc import Iterable
from itertools import islice
from typing import Any

from decoder.complaints import did_you_mean, yaml_text
from orchestrator.spec.slips import ascii_name

NAME_PATTERN = "[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}"
_MOST_LISTED = 24


def check_name(name: str) -> str:
    """Return `name` if it can be the name of a folder.

    Raises:
        ValueError: the name is empty, too long, starts with a dot or has other characters.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        like = ascii_name(name)
        raise ValueError(
            f"{yaml_text(name)} is not a valid name; use 1 to 64 of the characters A-Z a-z 0-9 . "
            "_ - and no dot at the start" + (f", for example {like}" if like else "")
        )
    return name


def hint(got: str, known: Iterable[object]) -> str:
    """The allowed name that is most like `got`, or else the allowed names.

    Returns:
        ``; did you mean 'x'?`` or `` (allowed: a, b)``, to stand at the end of a complaint.
    """
    names = [str(name) for name in known]
    return did_you_mean(got, names) or f" (allowed: {listed(names)})"


def listed(names: Iterable[object]) -> str:
    """The first names, separated by commas; ``none`` if there are none."""
    texts = [str(name) for name in islice(names, _MOST_LISTED + 1)]
    if len(texts) > _MOST_LISTED:
        texts[-1] = "..."
    return ", ".join(texts) or "none"


def level_text(value: Any) -> Any:
    """The name of a level that YAML read as a number, a truth value or null.

    Other values are returned as they are.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return re.sub(r"e([-+])0+", r"e\1", repr(value))
    return value


def level_names(before: Any, after: Any) -> tuple[str, str]:
    """Names for the two levels of a factor: its values if they are valid names and differ.

    Otherwise ``before`` and ``after``.
    """
    try:
        names = check_name(level_text(before)), check_name(level_text(after))
    except (TypeError, ValueError):
        return "before", "after"
    return names if names[0] != names[1] else ("before", "after")
