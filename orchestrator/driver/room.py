"""How many runs a pack may hold: free memory over what a run takes, by measurement if there is one.

A measurement is the peak memory of a recorded run, or of the calibration that `plan` made.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from decoder.atomic import write_atomically
from decoder.config import DecoderConfig
from decoder.memory import PROCESS_BYTES, MemoryEstimate, RecordingsSize, estimate_memory
from decoder.regular import read_json
from orchestrator.execute.machine import Options, device_to_use
from orchestrator.execute.memory_limits import FreeMemory, free_memory
from orchestrator.plan.packs import PlannedPack, PlannedRun
from orchestrator.spec.configuration import pack_key
from orchestrator.store.ledger import config_of, recent_records
from orchestrator.store.paths import Results
from orchestrator.store.record import Record
from orchestrator.store.under_way import packs_under_way

ShapeKey = tuple[str, str]  # fingerprint of the recordings, shape of the pack
_MOST_RECENT = 50  # records that are searched for measurements
_LEAST_FACTOR = 0.25  # of an estimate; a smaller measurement is that of the libraries alone


class Peak(NamedTuple):
    """The measured peak memory of a pack.

    Attributes:
        n_runs: runs in the pack.
        n_bytes: as `decoder.pack.RunResult.peak_memory_bytes`.
    """

    n_runs: int
    n_bytes: int


class ShapeMemory(NamedTuple):
    """What packs of one shape may hold.

    Attributes:
        n_runs: most runs in a pack.
        n_fitting: runs for which there is memory; None if unknown.
        estimate: what they take; None if unknown.
        is_measured: whether a measurement stands behind it.
    """

    n_runs: int
    n_fitting: int | None = None
    estimate: MemoryEstimate | None = None
    is_measured: bool = False


@dataclass(frozen=True)
class PackRoom:
    """Bounds packs by memory, and keeps those that have checkpoints.

    Attributes:
        free: what a pack may take; None if unknown.
        device: ``cpu``, ``cuda`` or ``mps``.
        max_runs: most runs in any pack, as the options say.
        peaks: shape → measured peaks.
        under_way: see `orchestrator.store.under_way.packs_under_way`.
    """

    free: FreeMemory | None
    device: str
    max_runs: int
    peaks: Mapping[ShapeKey, Sequence[Peak]] = field(default_factory=dict)
    under_way: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def most_runs(self, runs: Sequence[PlannedRun], shape: str) -> int:
        """How many of these runs, which can train together, a pack may hold; at least one."""
        return self.of_shape(runs, shape).n_runs

    def of_shape(self, runs: Sequence[PlannedRun], shape: str) -> ShapeMemory:
        """The same, with what it follows from."""
        data = runs[0].data
        configs = [run.config for run in runs if isinstance(run.config, DecoderConfig)]
        if not configs:
            return ShapeMemory(1)  # a command trains alone
        if self.free is None or not data.longest_bins:
            return ShapeMemory(self.max_runs)
        size = RecordingsSize(
            n_features=data.n_features,
            n_classes=data.n_classes,
            n_days=len(data.sessions),
            longest_bins=data.longest_bins,
            longest_target=data.longest_target,
            n_val_trials=data.n_val_trials,
        )
        found = (estimate_memory(config, size, self.device) for config in configs)
        estimate = max(found, key=lambda one: one.of(1))
        peaks = self.peaks.get((data.fingerprint, shape), ())
        process = 0 if self.device.startswith("cuda") else PROCESS_BYTES
        if peaks:
            factor = max((peak.n_bytes - process) / estimate.of(peak.n_runs) for peak in peaks)
            estimate = estimate.scaled(max(_LEAST_FACTOR, factor))
        n_fitting = estimate.most_runs(self.free.n_bytes)
        n_runs = max(1, min(self.max_runs, n_fitting))
        return ShapeMemory(n_runs, n_fitting, estimate, bool(peaks))

    def of_packs(self, packs: Sequence[PlannedPack]) -> dict[ShapeKey, ShapeMemory]:
        """Shape → what packs of it may hold, for every shape among these packs."""
        groups: dict[ShapeKey, list[PlannedRun]] = {}
        for pack in packs:
            groups.setdefault((pack.data.fingerprint, pack.shape), []).extend(pack.runs)
        return {key: self.of_shape(runs, key[1]) for key, runs in groups.items()}

    def with_peaks(self, peaks: Mapping[ShapeKey, Peak]) -> "PackRoom":
        """The same, with measurements of a calibration."""
        return replace(self, peaks={**self.peaks, **{key: (one,) for key, one in peaks.items()}})


def find_room(
    results: Results, name: str, options: Options, recent: Sequence[Record] | None = None
) -> PackRoom:
    """What bounds the packs of an ablation or search, as memory and records are now.

    Args:
        recent: records of any ablation; None reads the newest.
    """
    device = device_to_use(options.device)
    free = free_memory(options)
    peaks: dict[ShapeKey, list[Peak]] = {}
    if free is not None:
        for key, peak in _read_calibrations(results, device).items():
            peaks[key] = [peak]
        measured = _peaks_of(
            recent_records(results, _MOST_RECENT) if recent is None else recent, device
        )
        peaks |= measured
    return PackRoom(free, device, options.max_runs_per_pack, peaks, packs_under_way(results, name))


def keep_calibrations(results: Results, device: str, peaks: Mapping[ShapeKey, Peak]) -> None:
    """Keep what a calibration measured, so that `run` cuts the packs that `plan` showed.

    Raises:
        StorageError: the file cannot be written.
    """
    if peaks:
        known = {**_read_calibrations(results, device), **peaks}
        entries = [
            {"device": device, "fingerprint": key[0], "shape": key[1], **peak._asdict()}
            for key, peak in known.items()
        ]
        write_atomically(results.memory, json.dumps(entries, indent=1).encode())


def _read_calibrations(results: Results, device: str) -> dict[ShapeKey, Peak]:
    try:
        return {
            (str(entry["fingerprint"]), str(entry["shape"])): Peak(
                int(entry["n_runs"]), int(entry["n_bytes"])
            )
            for entry in read_json(results.memory)
            if entry["device"] == device
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # there is none, or it is damaged: estimates stand in


def _peaks_of(recent: Sequence[Record], device: str) -> dict[ShapeKey, list[Peak]]:
    """The measured peaks of records of the same kind of device.

    Older records, which do not name their precision, have the largest peak of their process.
    """
    on_gpu, peaks = device.startswith("cuda"), dict[ShapeKey, list[Peak]]()
    for record in recent:
        if record["status"] != "ok" or "precision" not in record["environment"]:
            continue
        config = config_of(record)
        if config is None or (record["host"].get("device") not in ("cpu", "mps")) != on_gpu:
            continue
        key = (record["dataset"]["fingerprint"], pack_key(config))
        peak = Peak(record["pack"]["n_runs"], record["peak_memory_bytes"])
        peaks.setdefault(key, []).append(peak)
    return peaks
