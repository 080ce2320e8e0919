"""Words for mistakes: a hint at the nearest known name, and a sentence for each pydantic error."""

import difflib
from collections.abc import Iterable, Mapping

from pydantic import ValidationError


def did_you_mean(got: str, known: Iterable[object]) -> str:
    """Suggest the known name that a user probably meant.

    A dotted path whose last part is `got` comes first (``epsilon`` → ``optim.epsilon``), then the
    name with the most similar spelling.

    Args:
        got: an unknown name.
        known: the names that are allowed there.

    Returns:
        ``; did you mean 'x'?``, or nothing where no name is near.
    """
    names = [str(name) for name in known]
    same_field = [name for name in names if name.rpartition(".")[2] == got]
    near = same_field or difflib.get_close_matches(got, names, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def explain(error: ValidationError, keys: Mapping[tuple[str, ...], list[str]]) -> list[str]:
    """Turn each error of pydantic into one sentence: key path, value, and what is allowed.

    Args:
        error: the validation error.
        keys: location → the names allowed there, from which the nearest is suggested.
    """
    sentences = []
    for item in error.errors():
        location = tuple(str(part) for part in item["loc"])
        path = ".".join(location) or "top level"
        got = item["input"]
        if item["type"] == "extra_forbidden":
            allowed = keys.get(location[:-1], [])
            hint = did_you_mean(location[-1], allowed)
            listing = f" (allowed here: {', '.join(allowed)})" if allowed and not hint else ""
            sentences.append(f"{path}: unknown key '{location[-1]}'{hint}{listing}")
            continue
        if item["type"] == "missing":
            sentences.append(f"{path}: this key is required, but missing; add it")
            continue
        if item["type"] == "value_error":
            sentences.append(f"{path}: {item['ctx']['error']}")
            continue
        sentence = f"{path}: {item['msg'].replace('Input should be', 'must be')}, but got {got!r}"
        if isinstance(got, str) and item["type"] in ("float_type", "int_type", "bool_type"):
            sentence += "; it is quoted text: remove the quotes" if _is_number(got) else ""
        sentences.append(sentence)
    return sentences


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
