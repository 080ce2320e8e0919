"""The record of a run trained elsewhere: what its folder says, as it is kept in the store."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from orchestrator.history.reading.columns import PER, STEP, Row
from orchestrator.history.reading.files import FileNote

SCHEMA = 1
Outcome = Literal["ok", "collapsed", "diverged", "unfinished", "unknown"]


@dataclass(frozen=True)
class Evaluation:
    """A final evaluation in a file of its own: PER as a rate, the loss if it is there."""

    path: str
    per: float
    val_loss: float | None


@dataclass(frozen=True)
class Mapped:
    """What the settings mean in our terms.

    Attributes:
        codebase: whose settings they are: ``t12``, ``t15``, ``ours``.
        config: config path → value, the official trainer's where the settings do not say.
        fields: setting → the config paths it sets.
        taken: config paths that the settings do not say, taken as the official trainer has them.
        without_effect: settings that the official trainer does not act on.
        problem: why there is no config; "" if there is one.
    """

    codebase: str
    config: Mapping[str, Any]
    fields: Mapping[str, Sequence[str]]
    taken: Sequence[str]
    without_effect: Sequence[str]
    problem: str


@dataclass(frozen=True)
class ForeignRun:
    """One run trained elsewhere; provenance ``imported``.

    Attributes:
        name: its folder below the imported one; `source` that folder as a whole.
        files: every file found, and what became of it.
        settings: dotted name → value as written; `settings_from` the file they are of.
        mapped: the settings in our terms.
        seed: None if not stated; `seed_from` is the setting that says it.
        history: a row a step, with what is known of it; PER is a rate.
        step_unit: what ``step`` counts: ``step``, ``epoch`` or ``row``.
        n_restarts: how often it was restarted into.
        evaluations: final evaluations told in files of their own.
        outcome: how it ended, and `reasons` why that is said.
        n_planned: steps that the settings ask for.
        started: first time stamp in a log; `changed` the latest change of a file in seconds.
        trainer: ``t12`` or ``t15`` if the log is that of an official trainer.
        notes: what was decided or could not be read.
    """

    name: str
    source: str
    files: tuple[FileNote, ...]
    settings: Mapping[str, Any]
    settings_from: str
    mapped: Mapped
    seed: int | None
    seed_from: str
    history: tuple[Row, ...]
    step_unit: str
    n_restarts: int
    evaluations: tuple[Evaluation, ...]
    outcome: Outcome
    reasons: tuple[str, ...]
    n_planned: int | None
    started: str
    changed: float
    trainer: str
    notes: tuple[str, ...]

    def pers(self) -> list[tuple[float, float]]:
        """Step and PER of every evaluation with a finite PER."""
        return [
            (row[STEP], row[PER]) for row in self.history if math.isfinite(row.get(PER, math.nan))
        ]

    @property
    def final(self) -> tuple[float, float] | None:
        """Step and PER of the last evaluation; without a course the PER of a final evaluation."""
        pers = self.pers()
        if pers:
            return pers[-1]
        return (math.nan, self.evaluations[0].per) if self.evaluations else None

    @property
    def best(self) -> tuple[float, float] | None:
        """Step and PER of the lowest evaluation of the course, the first of equals."""
        return min(self.pers(), key=lambda pair: (pair[1], pair[0]), default=None)

    @property
    def counted(self) -> float | None:
        """The PER comparisons go by: that of the last evaluation; 1 for a run that diverged."""
        if self.outcome == "diverged":
            return 1.0
        return None if self.final is None else self.final[1]

    @property
    def last_step(self) -> float | None:
        """The last step with any figure."""
        return self.history[-1][STEP] if self.history else None


def to_json(run: ForeignRun) -> bytes:
    """The record as it is written; numbers that are not finite as text."""
    document = {"schema": SCHEMA, "provenance": "imported", **asdict(run)}
    text = json.dumps(finite(document), indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace")


def from_json(content: bytes) -> ForeignRun:
    """The inverse of `to_json`.

    Raises:
        ValueError, KeyError, TypeError: it is no such record.
    """
    document = json.loads(content)
    if document.pop("schema") != SCHEMA or document.pop("provenance") != "imported":
        raise ValueError("it is no record of an imported run")
    document["files"] = tuple(FileNote(**note) for note in document["files"])
    mapped = document["mapped"]
    mapped["fields"] = {key: tuple(paths) for key, paths in mapped["fields"].items()}
    mapped["taken"] = tuple(mapped["taken"])
    mapped["without_effect"] = tuple(mapped["without_effect"])
    document["mapped"] = Mapped(**mapped)
    document["evaluations"] = tuple(Evaluation(**_numbers(e)) for e in document["evaluations"])
    document["history"] = tuple(_numbers(row) for row in document["history"])
    document["reasons"], document["notes"] = tuple(document["reasons"]), tuple(document["notes"])
    return ForeignRun(**document)


def finite(value: Any) -> Any:
    """A nested value in which numbers that are not finite are text."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: float(value) if value in ("nan", "inf", "-inf") else value
        for key, value in row.items()
    }
