"""Words for mistakes: a hint at the nearest known name, and a sentence for each pydantic error."""

import difflib
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from decoder.errors import ENOUGH_PROBLEMS
from decoder.harmless import harmless

Place = tuple[str, ...]
_MOST_SHOWN = 60  # characters of a value
_MOST_NAMES = 300  # among which a similar one is looked for
_MOST_BITS = 2000  # of a whole number that is written out
_MOST_SPELT = 100  # characters of a name for which a similar one is looked for

# Kind of pydantic's error → what must stand there; words in braces are limits of the field.
_KINDS: Mapping[str, tuple[str, ...]] = {
    "string_type": ("text",),
    "int_type": ("a whole number",),
    "int_from_float": ("a whole number",),
    "float_type": ("a number",),
    "bool_type": ("true", "false"),
    "tuple_type": ("a list in square brackets",),
    "list_type": ("a list in square brackets",),
    "dict_type": ("a mapping of keys to values",),
    "model_type": ("a mapping of keys to values",),
}
_LIMITS: Mapping[str, str] = {
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "multiple_of": "a multiple of {multiple_of}",
    "finite_number": "a finite number",
    "string_too_short": "text of at least {min_length} character",
    "string_too_long": "text of at most {max_length} characters",
    "literal_error": "{expected}",
}


def did_you_mean(got: str, known: Iterable[object], likeness: float = 0.6) -> str:
    """Suggest the known name that a user probably meant.

    A dotted path whose last part is `got` comes first (``epsilon`` → ``optim.epsilon``), then the
    name with the most similar spelling; capitals make no difference.

    Args:
        got: an unknown name.
        known: the names that are allowed there.
        likeness: of the spelling that counts as similar, from 0 to 1.

    Returns:
        ``; did you mean 'x'?``, or nothing where no name is near.
    """
    if len(got) > _MOST_SPELT:
        return ""
    names = {str(name).lower(): str(name) for name in itertools.islice(known, _MOST_NAMES)}
    low = got.lower()
    same_field = [name for name in names if name.rpartition(".")[2] == low]
    near = same_field or difflib.get_close_matches(low, names, n=1, cutoff=likeness)
    return f"; did you mean '{names[near[0]]}'?" if near else ""


def yaml_text(value: Any) -> str:
    """A value as a YAML file writes it in one line, with text in quotes; long ones are cut."""
    text = ""
    for part in _flow(value):
        text += part
        if len(text) > _MOST_SHOWN:  # the rest may be endless
            return f"{text[: _MOST_SHOWN - 3]}..."
    return text


def _flow(value: Any) -> Iterator[str]:
    """The parts of `yaml_text`, one after the other."""
    if isinstance(value, Mapping):
        yield "{"
        for index, (key, one) in enumerate(value.items()):
            yield f"{', ' if index else ''}{_plain(key)}: "
            yield from _flow(one)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for index, one in enumerate(value):
            yield ", " if index else ""
            yield from _flow(one)
        yield "]"
    elif isinstance(value, str):
        yield f"'{harmless(value[: _MOST_SHOWN + 1])}'".replace("\n", "\\n")
    else:
        yield _plain(value)


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a number of {value.bit_length()} bits"  # Python does not write it
    return str(value)


def explain(
    error: ValidationError,
    document: Any,
    keys: Mapping[Place, list[str]],
    mend: Callable[[Place, Any], str] = lambda place, got: "",
) -> list[str]:
    """Turn each mistake that pydantic found into one sentence: key path, value, what is allowed.

    Where a key takes several kinds of values, pydantic has an error for each kind, which is one
    mistake here.

    Args:
        error: the validation error.
        document: what was validated.
        keys: location → the names allowed there, from which the nearest is suggested.
        mend: key path and value → what to write instead, for the end of the sentence; empty where
            the general hint is enough.
    """
    found: list[tuple[Place, str]] = []
    kinds: dict[Place, list[str]] = {}
    inputs: dict[Place, Any] = {}
    items = error.errors(include_url=False)[:ENOUGH_PROBLEMS]
    inside = {item["loc"][:n] for item in items for n in range(len(item["loc"]))}
    for item in items:
        if item["type"] == "too_short" and item["loc"] in inside:
            continue  # pydantic does not count the values that it refuses
        place, choice = _place(item["loc"], document, item["type"])
        if place == choice and item["type"] in _KINDS:
            kinds.setdefault(place, []).extend(_KINDS[item["type"]])
            inputs[place] = item["input"]
        else:
            found.append((place, _sentence(place, dict(item), keys, mend)))
    for place, words in kinds.items():
        if not any(other[: len(place)] == place for other, _ in found):
            got = inputs[place]
            found.append((place, _must_be(place, words, got, mend(place, got))))
    for place, sentence in list(found):  # a misspelt key is not missing as well
        likely = (f"write {place[-1]}: ", f"did you mean '{place[-1]}'?") if place else ()
        others = [text for other, text in found if other[:-1] == place[:-1] and other != place]
        if "key is required" in sentence and any(hint in one for one in others for hint in likely):
            found.remove((place, sentence))
    return list(dict.fromkeys(sentence for _, sentence in found))


def _place(location: Sequence[int | str], document: Any, kind: str) -> tuple[Place, Place | None]:
    """The keys of a location, and those of the place that takes several kinds of values.

    Pydantic puts the name of each kind, such as ``bool``, among the keys. The second is None where
    it does not.
    """
    place: list[str] = []
    choice: Place | None = None
    at = document
    for index, part in enumerate(location):
        is_inside, value = _entry(at, part)
        if is_inside or (kind == "missing" and index == len(location) - 1):
            place.append(str(part))
            at = value
        elif part != "[key]" and choice is None:
            choice = tuple(place)
    return tuple(place), choice


def _entry(at: Any, part: int | str) -> tuple[bool, Any]:
    """Whether a mapping or list has an entry, which pydantic may name as text, and its value."""
    if isinstance(at, list | tuple):
        is_inside = isinstance(part, int) and 0 <= part < len(at)
        return is_inside, at[int(part)] if is_inside else None
    if not isinstance(at, Mapping):
        return False, None
    if part in at:
        return True, at[part]
    found = [value for key, value in at.items() if str(key) == str(part)]
    return bool(found), found[-1] if found else None


def _sentence(
    place: Place,
    item: Mapping[str, Any],
    keys: Mapping[Place, list[str]],
    mend: Callable[[Place, Any], str],
) -> str:
    path, kind, got = ".".join(place) or "top level", item["type"], item["input"]
    if kind == "extra_forbidden":
        allowed = keys.get(place[:-1], [])
        hint = mend(place, got) or did_you_mean(place[-1], allowed)
        listing = f" (allowed here: {', '.join(allowed)})" if allowed and not hint else ""
        return f"{path}: unknown key '{place[-1]}'{hint}{listing}"
    if kind == "missing" and isinstance(item["loc"][-1], int):
        needs = f"must be a list of {item['loc'][-1] + 1} values"
        return f"{'.'.join(place[:-1])}: {needs}, but got {yaml_text(got)}{mend(place[:-1], got)}"
    if kind == "missing":
        return f"{path}: this key is required, but missing; add it"
    if kind == "value_error":
        return f"{path}: {item['ctx']['error']}"
    if kind in ("too_short", "too_long"):
        context = item["ctx"]
        limit = context.get("min_length", context.get("max_length"))
        most = f"at {'least' if kind == 'too_short' else 'most'} {limit:,}"
        count = f"{context['actual_length']:,}: " if context.get("actual_length") else ""
        hint = mend(place, got) if kind == "too_short" else ""
        return f"{path}: must have {most} values, but got {count}{yaml_text(got)}{hint}"
    if kind in _KINDS:
        hint = mend(place, got)
        if kind == "model_type" and place in keys:
            hint = hint or f"; its keys are {', '.join(keys[place])}"
        return _must_be(place, _KINDS[kind], got, hint)
    limits = item.get("ctx", {})
    words = _LIMITS.get(kind, "").format_map(limits) or item["msg"]
    hint = mend(place, got)
    if kind == "literal_error" and not hint:
        hint = did_you_mean(str(got), re.findall(r"'([^']*)'", words))
    return f"{path}: must be {words}, but got {yaml_text(got)}{hint}"


def _must_be(place: Place, words: Iterable[str], got: Any, hint: str) -> str:
    kinds = list(dict.fromkeys(words))
    if "a number" in kinds and "a whole number" in kinds:
        kinds.remove("a whole number")
    must = " or ".join([", ".join(kinds[:-1]), kinds[-1]] if len(kinds) > 1 else kinds)
    return (
        f"{'.'.join(place) or 'top level'}: must be {must}, but got {yaml_text(got)}"
        f"{hint or _rewritten(kinds, got)}"
    )


def _rewritten(kinds: Sequence[str], got: Any) -> str:
    """How a value of the wrong kind that has an obvious meaning is written."""
    is_number = isinstance(got, int | float) and not isinstance(got, bool)
    if "a list in square brackets" in kinds and isinstance(got, str | int | float):
        return f"; write [{_cut(got)}]"
    if "text" in kinds and (is_number or isinstance(got, bool)):
        return f"; put it in quotes: '{yaml_text(got)}'"
    if isinstance(got, list) and len(got) == 1:
        return f"; write {yaml_text(got[0])} without brackets"
    if "a whole number" in kinds and isinstance(got, float) and got.is_integer():
        return f"; write {got:.0f}" if abs(got) < 1e15 else ""
    if "true" in kinds and (is_number or isinstance(got, str)):
        truth = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false"}
        truth |= {"0": "false"}
        word = str(got).lower()
        if word in ("true", "false"):
            return "; it is quoted text: remove the quotes"
        return f"; write {truth[word]}" if word in truth else ""
    if isinstance(got, str) and {"a number", "a whole number"} & set(kinds):
        return _number_in(got)
    return ""


def _cut(value: object) -> str:
    text = value if isinstance(value, str) else yaml_text(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _number_in(text: str) -> str:
    """How a number that YAML read as text is written."""
    if len(text) > _MOST_SHOWN:
        return ""
    bare = text.strip().replace(" ", "")
    if _is_number(bare):
        return "; it is quoted text: remove the quotes"
    if _is_number(bare.replace(",", ".")):
        return f"; write {bare.replace(',', '.')}, with a decimal point"
    if bare.endswith("%") and _is_number(bare[:-1].replace(",", ".")):
        return f"; write {float(bare[:-1].replace(',', '.')) / 100:g}"
    if bare.lower() in ("none", "nil", "off", "no"):
        return "; for no value write null, where the key allows it"
    return ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
