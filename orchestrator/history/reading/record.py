"""The record of an imported run: everything its folder says, as it is stored."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from decoder.complaints import explain
from orchestrator.history.reading.columns import PER, STEP, StepValues
from orchestrator.history.reading.files import FileNote

SCHEMA = 1
ImportedOutcome = Literal["ok", "collapsed", "diverged", "unfinished", "unknown"]
Settings = Mapping[str, Any]  # settings as users write them, by name; values may be anything


@dataclass(frozen=True)
class FinalEvaluation:
    """An evaluation in a file of its own.

    Attributes:
        per: as a rate.
        val_loss: None if the file does not state it.
        split: of the trials: ``val``, ``test`` or another; "" if nothing says it.
    """

    path: str
    per: float
    val_loss: float | None
    split: str = ""


@dataclass(frozen=True)
class MappedSettings:
    """The settings of a run, as a configuration of our decoder.

    Attributes:
        codebase: whose settings they are: ``t12``, ``t15``, ``ours``; "" if that is not known.
        config: config path → value; the official trainer's value where the settings are silent.
        fields: setting → the config paths that it sets.
        taken: config paths that the settings do not state, with the official trainer's value.
        without_effect: settings that the official trainer ignores.
        problem: why there is no config; "" if there is one.
    """

    codebase: str = ""
    config: Settings = field(default_factory=dict)
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    taken: tuple[str, ...] = ()
    without_effect: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class ImportedRun:
    """One run that was trained elsewhere; its provenance is ``imported``.

    Attributes:
        name: its folder below the imported one.
        source: the imported folder.
        files: every file of the run, and how it was used.
        settings: dotted name → value as written.
        settings_from: the file that holds the settings.
        mapped: the settings as a configuration of our decoder.
        seed: None if it is not stated.
        seed_from: the setting that states the seed.
        history: the learning curve, one row per step; PER is a rate.
        step_unit: what ``step`` counts: ``step``, ``epoch`` or ``row``.
        n_restarts: how often training was restarted.
        evaluations: evaluations in files of their own, of splits with true labels; those of the
            split that the learning curve validates on come first.
        outcome: how training ended.
        reasons: why that outcome was chosen.
        n_planned: number of steps that the settings ask for.
        started: first time stamp in a log.
        changed: latest change of a file, in seconds.
        trainer: ``t12`` or ``t15`` if the log is that of an official trainer.
        notes: what was decided while reading, and what could not be read.
    """

    name: str
    source: str
    files: tuple[FileNote, ...]
    settings: Settings
    settings_from: str
    mapped: MappedSettings
    seed: int | None
    seed_from: str
    history: tuple[StepValues, ...]
    step_unit: str
    n_restarts: int
    evaluations: tuple[FinalEvaluation, ...]
    outcome: ImportedOutcome
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
        """Step and PER of the last evaluation.

        Without a learning curve: NaN, and the PER of an evaluation in a file of its own.
        """
        pers = self.pers()
        if pers:
            return pers[-1]
        return (math.nan, self.evaluations[0].per) if self.evaluations else None

    @property
    def best(self) -> tuple[float, float] | None:
        """Step and PER of the lowest PER of the learning curve, the first of equal ones."""
        return min(self.pers(), key=lambda pair: (pair[1], pair[0]), default=None)

    @property
    def compared_per(self) -> float | None:
        """The PER with which the run is compared: that of the last evaluation; 1 if it diverged."""
        if self.outcome == "diverged":
            return 1.0
        return None if self.final is None else self.final[1]

    @property
    def last_step(self) -> float | None:
        """The last step of the learning curve."""
        return self.history[-1][STEP] if self.history else None

    @property
    def curve_digests(self) -> frozenset[str]:
        """The digests of its learning-curve files; equal for copies of one run."""
        return frozenset(
            note.digest for note in self.files if note.role == "course" and note.digest
        )


_RUN = TypeAdapter(ImportedRun)


def run_document(run: ImportedRun) -> dict[str, object]:
    """A run for ``--json``; PER is a rate, and a value is None where it is not known."""
    best_step, best_per = run.best or (None, None)
    return {
        "name": run.name,
        "outcome": run.outcome,
        "reasons": list(run.reasons),
        "seed": run.seed,
        "n_evaluations": len(run.pers()),
        "last_step": run.last_step,
        "step_unit": run.step_unit,
        "n_planned": run.n_planned,
        "final_per": run.final[1] if run.final else None,
        "best_per": best_per,
        "best_step": best_step,
        "n_restarts": run.n_restarts,
        "settings_from": run.settings_from,
        "codebase": run.mapped.codebase,
        "notes": list(run.notes),
    }


def to_json(run: ImportedRun) -> bytes:
    """The record as it is stored; numbers that are not finite are text, such as ``"nan"``."""
    document = {"schema": SCHEMA, "provenance": "imported", **asdict(run)}
    text = json.dumps(non_finite_as_text(document), indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace")


def from_json(content: bytes) -> ImportedRun:
    """Read what `to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: the content is not such a record.
    """
    try:
        document = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if document.pop("schema") != SCHEMA or document.pop("provenance") != "imported":
        raise ValueError("it is no record of an imported run")
    try:
        return _RUN.validate_python(document)
    except ValidationError as error:
        raise ValueError("; ".join(explain(error, document, {}))) from None


def non_finite_as_text(value: Any) -> Any:
    """A copy of a nested value in which numbers that are not finite are text."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): non_finite_as_text(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [non_finite_as_text(inner) for inner in value]
    return value
