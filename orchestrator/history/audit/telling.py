"""Findings about foreign runs, and the words and figures they are told in."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.history.audit.counting import Change
from orchestrator.history.reading.columns import PER, STEP
from orchestrator.history.reading.files import shown
from orchestrator.history.reading.record import ForeignRun

_MANY_STEPS = 50  # from here on one step more or less is no matter

# How much a finding weighs, the heaviest first.
WEIGHTS = {1: "overturns conclusions", 2: "weakens conclusions", 3: "good to know"}


@dataclass(frozen=True)
class Finding:
    """One thing an audit found.

    Attributes:
        kind: a short name, the same for findings of one kind.
        weight: a key of `WEIGHTS`.
        title: the finding in one sentence.
        details: sentences with names and figures, the most telling first.
        runs: names of the runs it is about.
        figures: its numbers, for ``--json``.
    """

    kind: str
    weight: int
    title: str
    details: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


def per_text(per: float | None) -> str:
    """A PER in percent."""
    if per is None or math.isnan(per):
        return "no PER"
    return f"{100 * per:.1f} %" if per >= 0.02 else f"{100 * per:.2f} %"


def points(difference: float) -> str:
    """The size of a difference of PERs, in points of percent."""
    size = abs(100 * difference)
    text = f"{size:.1f}" if size >= 0.95 else f"{size:.2f}"
    return f"{text} point{'s' * (text not in ('1.0', '1.00'))}"


def moved(difference: float) -> str:
    """A difference with its direction: ``1.2 points lower``."""
    return f"{points(difference)} {'lower' if difference < 0 else 'higher'}"


def value_text(value: Any) -> str:
    """A setting's value as people write it."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float | int):
        return f"{value:g}" if abs(value) < 1e6 else f"{value:,.0f}"
    if isinstance(value, list) and len(value) > 4:
        return f"{len(value)} values"
    text = shown(str(value))
    return text if len(text) <= 60 else text[:57] + "..."


def short_name(name: str) -> str:
    """The last part of a dotted name, where that says enough."""
    last = name.rpartition(".")[2]
    return last if "_" in last or len(last) >= 8 else name


def change_text(change: Change) -> str:
    """One thing that changed: ``lr_max 0.005 → 0.002``."""
    before, after = (
        value_text(value) + " (official, not stated)" * (not stated and value is not None)
        for value, stated in zip((change.before, change.after), change.stated, strict=True)
    )
    text = f"{short_name(change.name)} {before} → {after}"
    others = len(change.paths) - 1
    if others > 0:
        text += (
            f" (and {others} setting{'s' * (others != 1)} that go{'es' * (others == 1)} with it)"
        )
    return text


def changes_text(changes: Sequence[Change], most: int = 8) -> str:
    """Several changes in one line."""
    texts = [change_text(change) for change in changes[:most]]
    if len(changes) > most:
        texts.append(f"{len(changes) - most} more")
    return joined(texts)


def joined(texts: Sequence[str], most: int = 12) -> str:
    """``a, b and c``; a long list is cut, and says so."""
    shown = list(texts[:most])
    if len(texts) > most:
        shown.append(f"{len(texts) - most} more")
    return (
        shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""
    )


def count(n: int, noun: str, plural: str = "") -> str:
    """``1 run``, ``2 runs``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def at_common_step(a: ForeignRun, b: ForeignRun) -> tuple[float, float, float] | None:
    """The last step at which both were evaluated, and the PER of each there."""
    if a.step_unit != b.step_unit:
        return None
    one = {row[STEP]: row[PER] for row in a.history if PER in row}
    two = {row[STEP]: row[PER] for row in b.history if PER in row}
    # The official trainers evaluate after the last of n steps too, which they number n - 1.
    near = {step + 1: per for step, per in two.items() if step >= _MANY_STEPS} | two
    shared = [step for step in one if step in near or (step >= _MANY_STEPS and step + 1 in near)]
    if not shared:
        return None
    step = max(shared)
    return step, one[step], near.get(step, near.get(step + 1, math.nan))


def same_budget(a: ForeignRun, b: ForeignRun) -> bool:
    """Whether two runs end at the same step, within 2 %; one that diverged had its chance."""
    if "diverged" in (a.outcome, b.outcome):
        return True
    if a.last_step is None or b.last_step is None:
        return True
    longest = max(a.last_step, b.last_step)
    return a.step_unit == b.step_unit and abs(a.last_step - b.last_step) <= max(1, 0.02 * longest)
