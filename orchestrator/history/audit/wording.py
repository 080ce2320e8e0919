"""The words of an audit: numbers, settings and lists, and the sentences of each finding."""

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.environment import TemplateModule

from orchestrator.history.audit.setting_changes import SettingChange
from orchestrator.history.reading.files import printable
from orchestrator.history.reading.merge_curves import restart_notes
from orchestrator.history.reading.record import ImportedRun
from orchestrator.spec.units import interval_words, percent


def per_text(per: float | None) -> str:
    """A PER in percent: ``21.3 %``."""
    if per is None or math.isnan(per):
        return "no PER"
    return percent(per, 1 if per >= 0.02 else 2)


def points(difference: float) -> str:
    """The size of a difference of PERs: ``1.2 points``."""
    size = abs(100 * difference)
    text = f"{size:.1f}" if size >= 0.95 else f"{size:.2f}"
    return f"{text} point{'s' * (text not in ('1.0', '1.00'))}"


def moved(difference: float) -> str:
    """A difference of PERs with its direction: ``1.2 points lower``."""
    return f"{points(difference)} {'lower' if difference < 0 else 'higher'}"


def value_text(value: Any) -> str:
    """The value of a setting; None is ``not set``."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float | int):
        return f"{value:g}" if abs(value) < 1e6 else f"{value:,.0f}"
    if isinstance(value, list) and len(value) > 4:
        return f"{len(value)} values"
    text = printable(str(value))
    return text if len(text) <= 60 else text[:57] + "..."


def short_name(name: str) -> str:
    """The last part of a dotted name, if that part is specific enough."""
    last = name.rpartition(".")[2]
    return last if "_" in last or len(last) >= 8 else name


def change_text(change: SettingChange) -> str:
    """One change: ``lr_max 0.005 → 0.002``."""
    before, after = (
        value_text(value) + " (official value, not stated)" * (not stated and value is not None)
        for value, stated in zip((change.before, change.after), change.stated, strict=True)
    )
    n_others = len(change.paths) - 1
    others = f" (and {count(n_others, 'setting')} with it)" if n_others > 0 else ""
    return f"{short_name(change.name)} {before} → {after}{others}"


def changes_text(changes: Sequence[SettingChange], most: int = 8) -> str:
    """Several changes in one line."""
    return joined([change_text(change) for change in changes], most)


def joined(texts: Iterable[str], most: int = 12) -> str:
    """``a, b and c``; beyond `most` texts, the others are counted."""
    shown = list(texts)
    if len(shown) > most:
        shown[most:] = [f"{len(shown) - most} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def count(n: int, noun: str, plural: str = "") -> str:
    """``1 run``, ``2 runs``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def names_of(runs: Iterable[ImportedRun]) -> tuple[str, ...]:
    """The names of runs, each once."""
    return tuple(dict.fromkeys(run.name for run in runs))


def environment(finalize: Callable[[object], str]) -> Environment:
    """The environment of the templates of this folder, with the functions above as filters;
    `finalize` makes text of every value that a template prints."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {
        "per": per_text,
        "points": points,
        "moved": moved,
        "value": value_text,
        "short_name": short_name,
        "changes": changes_text,
        "joined": joined,
        "count": count,
        "plural": lambda n, one, several: one if n == 1 else several,
        "percent": percent,
        "whole": lambda number: f"{number:,.0f}",
        "interval": lambda interval: interval_words(interval, "per"),
        "restart_notes": restart_notes,
    }
    return templates


def sentences(template: str, macro: str, facts: Mapping[str, object]) -> tuple[str, ...]:
    """What a macro of a template says of the facts, its arguments: a title, and each "- " part."""
    text = getattr(_macros(template), macro)(**facts)
    return tuple(_one_line(part).strip() for part in text.split("\n- "))


@functools.cache
def _macros(template: str) -> TemplateModule:
    return environment(finalize=_one_line).get_template(template).module


def _one_line(value: object) -> str:
    """Text without line ends, so that a name with one does not start a detail."""
    return re.sub(r"\s*\n\s*", " ", str(value))
