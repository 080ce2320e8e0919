"""Keys of a configuration that are there to give other keys their values, by interpolation."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from decoder.import_tables import Effect

_NAMED = re.compile(r"\$\{\s*(\.*)([^\s${}:.\[\]][^\s${}:]*)\s*\}")


def named_by(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Each dotted key that an interpolation names, and the key whose value names it.

    Args:
        values: a configuration as it is written, see `decoder.interpolation`.
        above: the names of the mappings that `values` stands in.
    """
    for name, value in values.items():
        at = (*above, str(name))
        if isinstance(value, Mapping):
            yield from named_by(value, at)
        for dots, key in _NAMED.findall(value) if isinstance(value, str) else ():
            start = at[: -len(dots)] if dots else ()
            words = [word for word in re.split(r"[.\[\]]+", key) if word]
            yield ".".join((*start, *words)), ".".join(at)


def taken_over(
    effects: Mapping[str, Effect], names: Iterable[tuple[str, str]]
) -> dict[str, Effect]:
    """The effects, with keys that only pass their value on marked as such.

    A key that is not known here loses nothing if a key that is taken over has its value. So does a
    block if another block has all of its keys, each of which is judged by itself.

    Args:
        effects: of every dotted key of the file.
        names: pairs of a key or block and the key that takes its value, see `named_by`.
    """
    takers: dict[str, list[str]] = {}
    for source, taker in names:
        takers.setdefault(source, []).append(taker)
    marked = dict(effects)
    for key, effect in effects.items():
        if effect.outcome != "unsupported":
            continue
        judged = [taker for taker in takers.get(key, []) if _outcome(effects, taker) == "mapped"]
        for block in _blocks(key):
            same = (taker + key.removeprefix(block) for taker in takers.get(block, []))
            judged += [target for target in same if target in effects and target != key]
        if judged:
            marked[key] = Effect("no effect", {}, f"{judged[0]} takes its value")
    return marked


def _outcome(effects: Mapping[str, Effect], key: str) -> str:
    return effects[key].outcome if key in effects else ""


def _blocks(key: str) -> list[str]:
    names = key.split(".")
    return [".".join(names[:n]) for n in range(len(names) - 1, 0, -1)]
