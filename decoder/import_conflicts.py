"""Finds keys of one file that set one field to different values, and decides between them."""

import fnmatch
from collections.abc import Mapping, Sequence

from decoder.import_keys import OFF, replaces_flat_keys
from decoder.import_tables import IMPLIED, Effect, Flat

Effects = dict[str, Effect]


def settle(
    effects: Effects, file: Flat, exact: Mapping[str, object], without: Sequence[str]
) -> None:
    """Leave each field to one key, by changing `effects` in place.

    What a key only implies (T12's ``lrEnd`` a schedule) yields to what another key says. A block
    that says what it is replaces the trainer's flat keys. Of any other two keys that differ, the
    one that is no key of the trainer is unsupported, unless `without` gives up the other.

    Args:
        effects: key → its effect.
        file: key → its value.
        exact: the keys of the official trainer.
        without: patterns of keys that the user gives up.
    """
    for path, keys in _set_more_than_once(effects).items():
        stated = [key for key in keys if path not in IMPLIED.get(key, ())]
        for key in keys:
            if stated and key not in stated:
                _take(effects, key, path)
        if len({_comparable(effects[key].fields[path]) for key in stated}) < 2:
            continue
        given_up = [key for key in stated if any(fnmatch.fnmatch(key, p) for p in without)]
        kept = [key for key in stated if key not in given_up] or stated
        for key in given_up:
            if key not in kept:
                effects[key] = Effect("left out", {}, f"at your request; {kept[0]} is taken")
        blocks = [key for key in kept if replaces_flat_keys(key, file)]
        if len(blocks) == 1:
            for key in kept:
                if key != blocks[0]:
                    _take(effects, key, path, f"{blocks[0]} replaces it")
            continue
        first, *others = sorted(kept, key=lambda key: key not in exact)
        for key in others:
            value = effects[first].fields[path]
            if _comparable(effects[key].fields[path]) != _comparable(value):
                note = f"it sets {path}, which {first} sets to {value}; keep one of the two"
                effects[key] = Effect("unsupported", {}, note)


def _set_more_than_once(effects: Effects) -> dict[str, list[str]]:
    """Field → the keys that set it, where there are several.

    A switch that is off wins over a strength, but not over another switch.
    """
    keys: dict[str, list[str]] = {}
    for key, effect in effects.items():
        for path, value in effect.fields.items():
            if effect.note != OFF or isinstance(value, bool):
                keys.setdefault(path, []).append(key)
    return {path: of_path for path, of_path in keys.items() if len(of_path) > 1}


def _take(effects: Effects, key: str, path: str, note: str = "") -> None:
    """Take a field away from a key; a key without any other has no effect."""
    outcome, fields, old = effects[key]
    rest = {p: value for p, value in fields.items() if p != path}
    effects[key] = Effect(outcome if rest else "no effect", rest, note or old)


def _comparable(value: object) -> str:
    """A text that is equal for equal values, 3 and 3.0 among them."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(float(value)) if abs(value) < 1e15 else repr(value)
    return repr(list(value) if isinstance(value, tuple) else value)
