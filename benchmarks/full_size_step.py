"""Times packs at full size beside the official trainer: steps, and training with validation.

    python benchmarks/full_size_step.py --official PATH/TO/model_training [--profile]
    python benchmarks/full_size_step.py --t12 --official-t12 PATH/TO/src
    python benchmarks/full_size_step.py --small --device cpu          # to try the script

The official recipe on random trials of the size of T15 (64 trials, 512 features, 45 days; or T12
with --t12). The official trainer and each pack alternate in one process. Measurements come in the
order of their importance, and none starts after --budget-seconds. Each is printed as it comes and
kept in --output (JSON); one that fails is printed with its error, and the others go on.
"""

import argparse
import contextlib
import dataclasses
import json
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from gpu_timing import (
    Step,
    activity,
    fresh,
    matrix_rate,
    ms_in_turn,
    peak_gib,
    print_profile,
    step_flop,
)
from official_steps import Stretch, t12_step, t15_step, t15_training
from pack_steps import PARTS, NotInUse, pack_step, pack_training, trained_with, without
from t15_shape import SMALL, T12, T15, Shape, random_batch, random_store, write_recordings

from decoder.config import DecoderConfig, load_config, override, resolve
from decoder.data.batches import Batch
from decoder.data.store import Dataset
from decoder.model.cells import Kernel
from decoder.phonemes import N_CLASSES

BASES = Path(__file__).parent.parent / "ablations" / "base"
EVERY_STEPS, N_VALIDATION_TRIALS = 2000, 1426  # of the official T15 training
N_WARM_UP = 3  # the second call of a graph captures it
TINY: dict[str, Any] = {"model.n_units": 64, "model.n_layers": 2, "data.batch_size": 8}
TABLES = ("training", "switches", "kernels")
ALL_PARTS = "all parts"  # what stood before: cuDNN, an optimizer a run, flags read at once


@dataclass
class Row:
    """One measurement.

    Attributes:
        part: ``steps``, or one of `TABLES`.
        what: what was measured.
        n_runs: R.
        kernel: implementation of the recurrent layers; None is the one that the pack chooses.
        without: the part that was switched off.
        ms_step: milliseconds a step of the whole pack.
        ms_official: the same of the official trainer's one run, measured in turn.
        matrix_share: the matrix products that the runs need, as a share of the matrix rate.
        kernels, launches, waits, busy_ms: a step, see `gpu_timing.Activity`.
        gib_run: peak memory of a run.
        validation_seconds: what a validation of `N_VALIDATION_TRIALS` adds to training.
        error: why there is no figure.
    """

    part: str
    what: str
    n_runs: int = 1
    kernel: str | None = None
    without: str | None = None
    ms_step: float | None = None
    ms_official: float | None = None
    matrix_share: float | None = None
    kernels: float | None = None
    launches: float | None = None
    waits: float | None = None
    busy_ms: float | None = None
    gib_run: float | None = None
    validation_seconds: float | None = None
    error: str | None = None

    @property
    def ratio(self) -> float | None:
        """Runs a GPU-hour, relative to the official trainer."""
        if self.ms_step is None or self.ms_official is None:
            return None
        return self.n_runs * self.ms_official / self.ms_step


@dataclass
class Bench:
    """The measurements, and what they share."""

    options: argparse.Namespace
    config: DecoderConfig
    shape: Shape
    device: str
    batch: Batch
    flop: float  # of one run and step
    rate: float = 0.0  # FLOP a second
    rows: list[Row] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    official: Step | None = None
    official_training: Stretch | None = None

    @property
    def seconds(self) -> float:
        """About how long the steps of one way are timed."""
        return 0.2 if self.options.small else 1.5

    def measure(self, row: Row, fill: Callable[[Row], None]) -> Row:
        """Fill a row, unless the time is over; print it and keep it in the output file."""
        seconds = time.monotonic() - self.started
        if seconds > self.options.budget_seconds:
            row.error = "left out: the time is over"
        else:
            try:
                fill(row)
            except NotInUse as error:
                row.ms_step, row.error = None, str(error)
            except Exception as error:  # of memory, a compiler, a part that this version lacks
                row.error = f"{type(error).__name__}: {str(error).splitlines()[:1]}"
                traceback.print_exc()
        self.rows.append(row)
        print(line_of(row), flush=True)
        self.save()
        return row

    def save(self) -> None:
        """Write all rows to the output file."""
        document = {
            "device": device_name(self.device),
            "torch": torch.__version__,
            "precision": self.config.train.precision,
            "batch": list(self.batch.features.shape),
            "matrix_flop_per_second": self.rate,
            "flop_of_a_run_and_step": self.flop,
            "seconds": time.monotonic() - self.started,
            "rows": [dataclasses.asdict(row) | {"ratio": row.ratio} for row in self.rows],
        }
        self.options.output.write_text(json.dumps(document, indent=1))

    def start_official(self, row: Row) -> None:
        """The official trainer's step; on a GPU it is compiled first."""
        options, config, n_days = self.options, self.config, self.shape.n_days
        before = fresh(self.device)
        if options.t12:
            step = t12_step(options.official_t12, config, n_days, self.batch, self.device)
        else:
            step = t15_step(options.official, config, n_days, self.batch, self.device)
        for _ in range(N_WARM_UP):
            step()
        row.gib_run = peak_gib(self.device, before)
        self._describe(row, step)
        row.ms_step = ms_in_turn({"official": step}, self.device, self.seconds)["official"]
        row.ms_official = row.ms_step
        row.matrix_share = self._share(row)
        self.official = step

    def pack(self, row: Row) -> None:
        """A pack's step, in turn with the official one."""
        step = None  # otherwise the memory of the last pack would be included
        before = fresh(self.device)
        with without(row.without, self.device) if row.without else contextlib.nullcontext():
            kernel: Any = row.kernel
            step = pack_step(self.config, row.n_runs, self.shape, self.batch, kernel, self.device)
            for _ in range(N_WARM_UP):
                step()
            row.gib_run = peak_gib(self.device, before) / row.n_runs
            steps = {"pack": step} | ({"official": self.official} if self.official else {})
            times = ms_in_turn(steps, self.device, self.seconds)
            row.ms_step, row.ms_official = times["pack"], times.get("official")
            row.matrix_share = self._share(row)
            self._describe(row, step)
            if self.options.profile and not row.without:
                print_profile(step, self.device)

    def _share(self, row: Row) -> float | None:
        assert row.ms_step is not None
        return 1e3 * self.flop * row.n_runs / row.ms_step / self.rate if self.rate else None

    def _describe(self, row: Row, step: Step) -> None:
        found = activity(step, self.device)
        if found is not None:
            row.kernels, row.launches, row.waits, row.busy_ms = found

    def training(self, row: Row, dataset: Dataset, beside: bool) -> None:
        """A stretch of training, with the official stretch measured before."""
        every = 8 if self.options.small else 30
        before = fresh(self.device)
        kernel: Any = row.kernel
        with contextlib.ExitStack() as stack:
            stack.enter_context(trained_with(kernel))
            if row.without == ALL_PARTS and self.device != "cpu":
                for part in ("one update for all runs", "flags read one step late"):
                    stack.enter_context(without(part, self.device))
            own = pack_training(self.config, row.n_runs, dataset, every, self.device, beside)
        row.gib_run = peak_gib(self.device, before) / row.n_runs
        self._fill_stretch(row, own)

    def official_stretch(self, row: Row, dataset: Dataset, folder: Path) -> None:
        """A stretch of official training, with its own loader and validation."""
        write_recordings(dataset, folder / "recordings")
        before = fresh(self.device)
        n_steps = 16 if self.options.small else 60
        self.official_training = t15_training(
            self.options.official,
            folder / "recordings",
            self.config,
            self.shape.n_features,
            dataset.val.n_trials,
            n_steps,
            self.device,
        )
        row.gib_run = peak_gib(self.device, before)
        self._fill_stretch(row, self.official_training)

    def _fill_stretch(self, row: Row, stretch: Stretch) -> None:
        row.ms_step = stretch.ms_at(EVERY_STEPS, N_VALIDATION_TRIALS)
        whole = stretch.validation_seconds / stretch.n_validation_trials * N_VALIDATION_TRIALS
        row.validation_seconds = whole
        if self.official_training is not None:
            row.ms_official = self.official_training.ms_at(EVERY_STEPS, N_VALIDATION_TRIALS)


def measure_steps(bench: Bench, runs: list[int]) -> None:
    """The first table: the official step, and packs by the kernel that they choose."""
    bench.rate = matrix_rate(bench.device, bench.config.train.precision)
    print(
        f"matrix products in {bench.config.train.precision}: {bench.rate / 1e12:.3g} TFLOP/s; "
        f"a step of a run needs {bench.flop / 1e12:.3g} TFLOP"
    )
    if bench.options.official_t12 if bench.options.t12 else bench.options.official:
        bench.measure(Row("steps", "official trainer"), bench.start_official)
    for n_runs in runs:
        bench.measure(Row("steps", "pack", n_runs, _best(bench)), bench.pack)


def measure_training(bench: Bench, runs: list[int], folder: Path) -> None:
    """The second table: loading and validation included."""
    print(
        f"\nTraining with loading, and a validation of {N_VALIDATION_TRIALS} trials after every "
        f"{EVERY_STEPS} steps:"
    )
    dataset = random_store(bench.shape, folder)
    if bench.options.official and not bench.options.t12:
        row = Row("training", "official trainer")
        bench.measure(row, lambda row: bench.official_stretch(row, dataset, folder))
    for n_runs in runs:
        row = Row("training", "pack", n_runs, _best(bench))
        bench.measure(row, lambda row: bench.training(row, dataset, beside=True))
    beside = "batches and decoding beside"
    row = Row("training", "pack", runs[0], _best(bench), without=beside)
    bench.measure(row, lambda row: bench.training(row, dataset, beside=False))
    row = Row("training", "pack", 1, "torch", without=ALL_PARTS)
    bench.measure(row, lambda row: bench.training(row, dataset, beside=False))


def measure_switches(bench: Bench, n_runs: int) -> None:
    """Each part of the step switched off alone."""
    print(f"\nOne part switched off, R = {n_runs}:")
    for part in PARTS:
        bench.measure(Row("switches", "pack", n_runs, _best(bench), without=part), bench.pack)


def measure_kernels(bench: Bench, runs: list[int]) -> None:
    """The other implementations of the recurrent layers."""
    print("\nOther kernels:")
    for n_runs in runs:
        for kernel in kernels_of(bench.device):
            if kernel != _best(bench):
                bench.measure(Row("kernels", "pack", n_runs, kernel), bench.pack)


def kernels_of(device: str) -> list[Kernel]:
    """The implementations that are measured on a device, the one that is expected best first."""
    other = ("rows",) if device == "cpu" else ("fused",)
    names = ("batched", "torch", *other) if device == "cpu" else (*other, "torch", "batched")
    return [name for name in names if name in get_args(Kernel)]  # type: ignore[misc]


def _best(bench: Bench) -> str:
    return bench.options.kernel or kernels_of(bench.device)[0]


def device_name(device: str) -> str:
    return "cpu" if device == "cpu" else torch.cuda.get_device_name(device)


def line_of(row: Row) -> str:
    """A row as it is printed."""
    name = f"{row.what}, R = {row.n_runs}" if row.what == "pack" else row.what
    name += f", {row.kernel}" if row.kernel else ""
    name += f", without: {row.without}" if row.without else ""
    if row.error:
        return f"{name:66s} {row.error}"
    parts = []
    if row.ms_step is not None:
        parts.append(f"{row.ms_step:8.1f} ms a step {row.ms_step / row.n_runs:8.2f} ms a run")
    if row.ratio is not None:
        parts.append(f"{row.ratio:6.2f}x official")
    if row.matrix_share is not None:
        parts.append(f"{row.matrix_share:6.1%} of matrix rate")
    if row.kernels is not None:
        parts.append(
            f"{row.kernels:.0f} kernels ({row.busy_ms:.1f} ms), {row.launches:.0f} launches, "
            f"{row.waits:.1f} waits"
        )
    if row.gib_run is not None:
        parts.append(f"{row.gib_run:5.2f} GiB a run")
    if row.validation_seconds is not None:
        parts.append(f"{row.validation_seconds:6.2f} s a validation")
    return f"{name:66s} " + ", ".join(parts)


def print_before_after(rows: list[Row]) -> None:
    """The last table: what a step costs without each part, and with all.

    The speed-up is that of the ratios to the official trainer, where it was measured in turn.
    """
    with_all = {
        (row.part, row.n_runs): row
        for row in rows
        if row.what == "pack" and row.part in ("steps", "training") and not row.without
    }
    print("\npart: milliseconds a run and step, before → after")
    for row in rows:
        part = row.without or (row.part == "kernels" and f"kernel, {row.kernel} before")
        after = with_all.get(("training" if row.part == "training" else "steps", row.n_runs))
        if not part or row.ms_step is None or after is None or after.ms_step is None:
            continue
        before, now = row.ms_step / row.n_runs, after.ms_step / row.n_runs
        gain = before / now
        if row.ratio is not None and after.ratio is not None:
            gain = after.ratio / row.ratio
        print(f"{part:50s} R = {row.n_runs:2d}: {before:8.2f} → {now:8.2f}, {gain:.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--official", type=Path, help="model_training of nejm-brain-to-text")
    parser.add_argument("--official-t12", type=Path, help="src of neural_seq_decoder")
    parser.add_argument("--t12", action="store_true", help="the official T12 recipe and size")
    parser.add_argument("--runs", type=int, nargs="+", default=[16, 1, 4, 8])
    parser.add_argument("--kernel", help="of the first tables; default: the one expected best")
    parser.add_argument("--tables", nargs="*", choices=TABLES, default=list(TABLES))
    parser.add_argument("--budget-seconds", type=float, default=250.0)
    parser.add_argument("--output", type=Path, default=Path("full_size_step.json"))
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)
    config = load_config(BASES / ("t12_official.yaml" if options.t12 else "t15_official.yaml"))
    shape = T12 if options.t12 else T15
    changes: dict[str, Any] = {} if options.t12 else {"optim.lr_warmup_steps": 0}
    if options.small:
        changes |= TINY
        shape = SMALL
    config = resolve(override(config, changes, "benchmark"))
    batch = random_batch(config, shape)
    flop = step_flop(config, batch.n_bins, shape.n_features, N_CLASSES)
    bench = Bench(options, config, shape, options.device, batch.to(options.device), flop)
    print(
        f"{device_name(options.device)}, torch {torch.__version__}, {config.train.precision}, "
        f"batch {tuple(batch.features.shape)}, {N_WARM_UP} steps of warm-up"
    )
    with tempfile.TemporaryDirectory() as folder:
        measure_steps(bench, options.runs)
        if "training" in options.tables:
            measure_training(bench, options.runs[:3], Path(folder))
        if "switches" in options.tables:
            measure_switches(bench, options.runs[0])
        if "kernels" in options.tables:
            measure_kernels(bench, options.runs)
    print_before_after(bench.rows)
    print(f"{time.monotonic() - bench.started:.0f} s; {options.output}")


if __name__ == "__main__":
    main()
