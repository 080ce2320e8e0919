"""One run as a row: the flat cells that the index keeps, and the same row with types."""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from pydantic import JsonValue, ValidationError

from decoder.collapse import CollapseThresholds
from decoder.config import DecoderConfig, digest, flatten, identity
from orchestrator.spec.configuration import CommandConfig, is_command, parse_document
from orchestrator.spec.configuration import identity as identity_of
from orchestrator.store.record import Record, RecordCode
from orchestrator.store.sources import source_of
from orchestrator.tables.run_columns import HistoryRows, leader_of, result_columns

SETTINGS = "settings."  # before the path of a setting of a trainer of the user's
Cells = Mapping[str, JsonValue]  # column → value; configuration paths are the names with a dot

_NOT_RESULTS = (
    *("schema", "history_sha256", "n_history_rows", "peak_memory_bytes", "error", "status"),
)


class RunRow(NamedTuple):
    """One run as far as it is known: from the ledger, an import, or a table of another tool.

    Attributes:
        outcome: one of `orchestrator.stats.run_values.ENDINGS`.
        config_id: digest of the settings that can change a result; None if some are unknown.
        dataset, dataset_path: fingerprint and folder of the recordings.
        trainer: the software that trained the run; None for the decoder of this project.
        numerics_version, decoder_sha256, training_sha256, git_commit, git_dirty: the code.
        per_session: session → (edits, reference phonemes); empty if not recorded.
        results: column → value, for every other column except settings, such as ``per``.
        settings: configuration path → value.
    """

    run_id: str
    outcome: str = "missing"
    seed: int | None = None
    config_id: str | None = None
    dataset: str | None = None
    dataset_path: str | None = None
    trainer: str | None = None
    numerics_version: int | None = None
    decoder_sha256: str | None = None
    training_sha256: str | None = None
    git_commit: str | None = None
    git_dirty: bool = False
    per_session: Mapping[str, Sequence[int]] = {}
    results: Cells = {}
    settings: Cells = {}

    @property
    def source(self) -> str | None:
        """An id of the decoder sources, see `source_of`; None if no code is recorded."""
        if not self.decoder_sha256 and not self.training_sha256:
            return None
        names = ("decoder_sha256", "training_sha256", "git_commit")
        return source_of({name: getattr(self, name) for name in names})

    def number(self, name: str) -> float | None:
        """The number in a column of `results`; None where there is none."""
        value = self.results.get(name)
        return float(value) if isinstance(value, bool | int | float) else None

    def text(self, name: str) -> str:
        """A column of `results` as text; empty where there is no value."""
        value = self.results.get(name)
        return "" if value is None else str(value)


_TYPED = frozenset(RunRow._fields) - {"results", "settings"}


def parse_run_row(cells: Cells) -> RunRow:
    """The row with types, from flat cells; a column that is missing or None has its default."""
    typed: dict[str, Any] = {n: v for n, v in cells.items() if n in _TYPED and v is not None}
    results = {n: v for n, v in cells.items() if n not in _TYPED and "." not in n}
    settings = {n: v for n, v in cells.items() if "." in n}
    return RunRow(**typed, results=results, settings=settings)


def record_cells(record: Record, history: HistoryRows) -> dict[str, JsonValue]:
    """The flat cells of a recorded run: identity, then results, then configuration.

    Collapse is judged by the default thresholds, since a record belongs to no ablation. A
    configuration field that is newer than the record has its default, which is how the code
    behaved before the field existed. NaN becomes None.
    """
    environment = record.get("environment", {})
    settings, config_id, trainer = _settings(json.dumps(record["config"]))
    code = trainer.code if trainer else environment.get("code") or {}
    cells: dict[str, JsonValue] = {
        "run_id": record["run_id"],
        "seed": record["seed"],
        "provenance": "trained",
        "config_id": config_id,
        "dataset": record["dataset"].get("fingerprint"),
        "dataset_path": record["dataset"].get("path"),
        "trainer": trainer and trainer.name,
        "numerics_version": None if trainer else record.get("numerics_version"),
        "decoder_sha256": code.get("decoder_sha256"),
        "training_sha256": code.get("training_sha256"),
        "git_commit": code.get("git_commit"),
        "git_dirty": code.get("git_dirty"),
        "numpy": environment.get("numpy"),
        "platform": environment.get("platform"),
        **result_columns(record, history, CollapseThresholds()),
    }
    cells |= {name: value for name, value in _newer_results(record).items() if name not in cells}
    cells |= settings
    # NaN alone differs from itself.
    return {name: value if value == value else None for name, value in cells.items()}


def varying_paths(configs: Sequence[Cells]) -> list[str]:
    """Paths in which configurations differ, without those that only repeat another path."""
    paths = dict.fromkeys(path for config in configs for path in config)
    varying = [path for path in paths if any(c.get(path) != configs[0].get(path) for c in configs)]
    return [path for path in varying if not _repeats(path, configs)]


class _Trainer(NamedTuple):
    """A trainer of the user's: the name of its folder with a digest of its code, and its commit."""

    name: str
    code: RecordCode


@functools.lru_cache(maxsize=4096)
def _settings(text: str) -> tuple[Cells, str, _Trainer | None]:
    """Configuration path → value, and a digest of the settings that can change a result.

    Args:
        text: the configuration as JSON; the runs of an arm share it.

    Returns:
        Also the trainer; None for the decoder of this project.
    """
    nested = json.loads(text)
    command = parse_document(nested) if is_command(nested) else None
    if isinstance(command, CommandConfig):
        name = f"{PurePath(command.trainer.cwd).name} {digest(dict(command.code))[:8]}"
        code: RecordCode = {"git_commit": command.commit, "git_dirty": command.dirty}
        flat = {f"{SETTINGS}{path}": value for path, value in command.settings.items()}
        n_steps = {"train.n_steps": nested["train"]["n_steps"]}
        return {**flat, **n_steps}, digest(identity_of(command))[:16], _Trainer(name, code)
    try:
        config = DecoderConfig.model_validate(nested)
    except ValidationError:  # other software has other fields; keep them as they are
        flat = {
            f"{section}.{name}": value
            for section, fields in nested.items()
            if isinstance(fields, Mapping)
            for name, value in fields.items()
        }
        return flat, digest(flat)[:16], None
    return flatten(config), digest(identity(config))[:16], None


def _newer_results(record: Record) -> Cells:
    """Fields that only newer records have: plain values, and PER by session."""
    plain: dict[str, JsonValue] = {
        name: value
        for name, value in record.items()
        if name not in _NOT_RESULTS and isinstance(value, bool | int | float | str)
    }
    beam, counts = record.get("beam") or {}, record.get("per_session")
    per_session: JsonValue = None if counts is None else {n: [*pair] for n, pair in counts.items()}
    return {**plain, "per_beam": beam.get("per"), "per_session": per_session}


def _repeats(path: str, configs: Sequence[Cells]) -> bool:
    """Whether a field repeats the one that fills it if it is left open, as for the day layers."""
    leader = leader_of(path)
    return leader is not None and all(
        leader in config and config.get(path) == config[leader] for config in configs
    )
