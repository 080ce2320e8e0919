"""The state of a pack in training: weights, optimizers, sums, histories; saving and resuming it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from decoder import optim
from decoder.breakdown import Breakdown
from decoder.checkpoint import Checkpoint, load_newest, save_checkpoint
from decoder.config import DecoderConfig
from decoder.data.store import Dataset
from decoder.data.watch import DataWatch
from decoder.device import compare_devices, device_name, driver_version, peak_memory_bytes
from decoder.extensions import used_by
from decoder.host import Flags
from decoder.metrics import TrainingSums, norm_quantiles
from decoder.model.decoder import PackedDecoder
from decoder.model.fused.available import why_not
from decoder.model.kernel_choice import default_kernel, resumed_kernel
from decoder.objective import LabelPrior
from decoder.pack import HistoryRow, Pack, Run, RunResult
from decoder.stacked_optim import StackedOptimizer
from decoder.training_sections import OptimConfig
from decoder.untrained_days import TrainedOn

# Weights without a finite loss on this many batches in a row are taken as diverged.
MAX_SKIPPED_IN_A_ROW = 20


def reads_late(device: torch.device) -> bool:
    """Whether the host reads the flags of a step only after it has queued work of the next step."""
    return device.type == "cuda"


class Unread(NamedTuple):
    """The flags of a step that the host has not read: whether each run is finite and took it."""

    step: int
    finite: Flags


@dataclass
class PackState:
    """The state of a pack in training: step, unfinished runs, weights, optimizers, sums.

    On a GPU the host runs ahead of the device, so that the device never waits for it. Whether a
    run's loss and gradient are finite is then decided on the device, where it guards the update,
    and the host reads it one step late, in `read_flags`. A run that diverged has been computed for
    one more step then, but not updated, and leaves as of the step at which it diverged. Flags are
    read before evaluations and checkpoints.
    """

    device: torch.device
    sessions: Sequence[str]
    n_runs_at_start: int
    runs: list[Run]
    model: PackedDecoder
    optimizer: optim.PackOptimizer
    sums: TrainingSums
    grad_norms: Tensor  # (R, largest budget), before clipping, on the device, filled up to `step`
    histories: dict[str, list[HistoryRow]]
    ended: list[RunResult]  # kept in checkpoints: a retry may need them again
    n_skipped: list[int]  # skipped updates of each unfinished run, in total
    n_skipped_in_a_row: list[int]  # and since its last update
    breakdowns: dict[str, Breakdown] = field(default_factory=dict)  # of runs about to end
    label_prior: LabelPrior | None = None  # if a run of the pack has a weight for it
    averages: dict[str, Tensor] = field(default_factory=dict)  # see `average`; empty if not needed
    step: int = 0
    seconds: float = 0.0
    late: bool = False  # see `reads_late`
    card_bytes: int = 0  # of recordings on a GPU, which are not the pack's
    unread: Unread | None = None  # of the step before, if `late`
    trained_on: TrainedOn | None = None  # what its sessions without training trials need
    watch: DataWatch | None = None  # what must be sound before a result or a checkpoint is made

    @property
    def configs(self) -> list[DecoderConfig]:
        """The configuration of each unfinished run."""
        return [run.config for run in self.runs]

    @property
    def kernel(self) -> str:
        """The implementation of the recurrence; empty where there is no choice."""
        if self.model.config.architecture != "gru" or not self.model.has_layers:
            return ""
        return self.model.kernel or default_kernel(self.device)

    @classmethod
    def start(cls, pack: Pack, dataset: Dataset, device: torch.device) -> "PackState":
        """The state before the first step."""
        model = PackedDecoder(
            pack.runs[0].config.model,
            n_runs=len(pack.runs),
            n_days=len(dataset.sessions),
            n_features=dataset.n_features,
            n_classes=dataset.n_classes,
            seed=pack.seed,
            blank_bias=[run.config.model.blank_bias for run in pack.runs],
            used=used_by(run.config for run in pack.runs),
            device=device,
        ).to(device)
        return cls(
            device=device,
            sessions=dataset.sessions,
            n_runs_at_start=len(pack.runs),
            runs=list(pack.runs),
            model=model,
            optimizer=make_optimizer([run.config.optim for run in pack.runs], model, device),
            sums=TrainingSums.zeros(len(pack.runs), device),
            grad_norms=torch.zeros(
                len(pack.runs), max(run.config.train.n_steps for run in pack.runs), device=device
            ),
            histories={run.run_id: [] for run in pack.runs},
            ended=[],
            n_skipped=[0] * len(pack.runs),
            n_skipped_in_a_row=[0] * len(pack.runs),
            label_prior=(
                LabelPrior(len(pack.runs), dataset.n_classes, device)
                if any(run.config.loss.label_prior_weight for run in pack.runs)
                else None
            ),
            late=reads_late(device),
        )

    def count_skips(self, finite: Sequence[bool], step: int | None = None) -> list[bool]:
        """Count the runs that skip a step because a loss or gradient is not finite.

        Args:
            finite: for each run, whether its loss and gradients are finite.
            step: which step; None means the present one.

        Returns:
            For each run, whether it ends as diverged. The other runs that are not finite skip the
            step.

        Raises:
            StoreDamagedError, DataError: the recordings are the reason, see `DataWatch`.
        """
        if self.watch is not None and not all(finite):
            self.watch.check_step(self.step if step is None else step, every_run=not any(finite))
        ending = []
        for row, (run, ok) in enumerate(zip(self.runs, finite, strict=True)):
            skips = not ok and run.config.optim.on_non_finite == "skip"
            self.n_skipped[row] += skips
            self.n_skipped_in_a_row[row] = self.n_skipped_in_a_row[row] + 1 if skips else 0
            too_many = self.n_skipped_in_a_row[row] >= MAX_SKIPPED_IN_A_ROW
            ending.append(too_many or not (ok or skips))
        return ending

    def read_flags(self) -> tuple[int, list[bool]]:
        """Read the flags of the step before, if they are unread, and count its skips.

        Returns:
            That step; and for each run, whether it ends there as diverged.
        """
        if self.unread is None:
            return self.step, [False] * len(self.runs)
        step, flags = self.unread
        self.unread = None
        return step, self.count_skips(flags.read(), step)

    def average(self, taken: Tensor | None) -> None:
        """Update the moving averages of weights for runs with ``optim.ema_decay``.

        For a run without it, the average is its current weights. A run that skips the step keeps
        its average.

        Args:
            taken: (R,) bool, whether a run takes the step; None means that all do.
        """
        decays = [config.optim.ema_decay for config in self.configs]
        if not any(decays):
            return
        weights = {name: p.detach() for name, p in self.model.named_parameters()}
        if self.step == 0:
            self.averages = {name: value.clone() for name, value in weights.items()}
            taken = None
        optim.average_weights(self.averages, weights, decays, taken)

    @contextmanager
    def evaluated_weights(self) -> Iterator[None]:
        """A context in which the model has the weights to evaluate: averages, if there are any,
        and lent day layers for sessions that train nothing."""
        trained = {name: p.data for name, p in self.model.named_parameters()}
        for name, parameter in self.model.named_parameters():
            parameter.data = self.averages.get(name, parameter.data)
        if self.trained_on is not None:
            self.trained_on.lend_day_layers(self.model, self.configs)
        try:
            yield
        finally:
            for name, parameter in self.model.named_parameters():
                parameter.data = trained[name]

    def finish(
        self,
        leaving: Sequence[bool],
        status: Literal["ok", "diverged"],
        n_dropped: int,
        n_steps_done: int | None = None,
    ) -> list[RunResult]:
        """Remove runs from the pack, with their weights and optimizers.

        Args:
            leaving: for each run, whether it leaves.
            status: how the leaving runs end.
            n_dropped: trials without a CTC alignment, for the results.
            n_steps_done: of the leaving runs; None means `step`.

        Returns:
            The results of the leaving runs.

        Raises:
            StoreDamagedError: the recordings changed while the pack trained.
        """
        if self.watch is not None and any(leaving):
            self.watch.check_files()
        done = self.step if n_steps_done is None else n_steps_done
        results = []
        for row, (run, leaves) in enumerate(zip(self.runs, leaving, strict=True)):
            if leaves:
                results.append(self._result(row, run, status, n_dropped, done))
        self.keep([i for i, leaves in enumerate(leaving) if not leaves])
        self.ended += results
        return results

    def _result(
        self,
        row: int,
        run: Run,
        status: Literal["ok", "diverged"],
        n_dropped: int,
        n_steps_done: int,
    ) -> RunResult:
        breakdown = self.breakdowns.pop(run.run_id, None)
        return RunResult(
            run_id=run.run_id,
            status=status,
            history=tuple(self.histories[run.run_id]),
            n_steps_done=n_steps_done,
            n_parameters=self.model.n_parameters(),
            n_dropped_trials=n_dropped,
            pack_seconds=self.seconds,
            n_runs_in_pack=self.n_runs_at_start,
            peak_memory_bytes=peak_memory_bytes(self.device) - self.card_bytes,
            device=device_name(self.device),
            driver=driver_version(self.device),
            kernel=self.kernel,
            grad_norm_quantiles=norm_quantiles(self.grad_norms[row, :n_steps_done]),
            per_session=breakdown.per_session(self.sessions) if breakdown else {},
            confusions=breakdown.confusion_counts() if breakdown else (),
            beam=breakdown.beam() if breakdown else {},
            words=breakdown.words if breakdown else {},
            n_skipped_steps=self.n_skipped[row],
            **(self.trained_on.facts(self.sessions, breakdown) if self.trained_on else {}),
        )

    def keep(self, rows: list[int]) -> None:
        """Keep only the runs at `rows`."""
        self.runs = [self.runs[row] for row in rows]
        self.model.keep_runs(rows)
        self.optimizer.keep_runs(rows)
        self.sums.keep_runs(rows)
        if self.label_prior is not None:
            self.label_prior.keep_runs(rows)
        self.grad_norms = self.grad_norms[rows]
        self.n_skipped = [self.n_skipped[row] for row in rows]
        self.n_skipped_in_a_row = [self.n_skipped_in_a_row[row] for row in rows]
        needed = any(config.optim.ema_decay for config in self.configs)
        self.averages = {n: t[rows] for n, t in self.averages.items()} if needed else {}

    def save(self, folder: Path) -> None:
        """Write a checkpoint from which `resume` continues exactly. Flags must have been read.

        Raises:
            StorageError: the checkpoint cannot be written, or the recordings changed since.
        """
        assert self.unread is None, "the checkpoint would hold runs that diverged"
        if self.watch is not None:
            self.watch.check_files()
        tensors = {f"model/{n}": p.detach() for n, p in self.model.named_parameters()}
        tensors |= {f"buffers/{n}": t for n, t in self.model.buffers_of_runs().items()}
        tensors |= {f"sums/{n}": t for n, t in self.sums.state().items()}
        tensors |= {f"averages/{n}": t for n, t in self.averages.items()}
        if self.label_prior is not None:
            tensors["label_prior"] = self.label_prior.mean
        tensors["grad_norms"] = self.grad_norms[:, : self.step]
        for row, run in enumerate(self.runs):
            own = self.optimizer.state(row)
            tensors |= {f"optim/{run.run_id}/{n}": t for n, t in own.items()}
        values = {
            "run_ids": [run.run_id for run in self.runs],
            "n_runs_at_start": self.n_runs_at_start,
            "device": self._made_with(),
            "kernel": self.model.kernel,
            "step": self.step,
            "seconds": self.seconds,
            "n_skipped": self.n_skipped,
            "n_skipped_in_a_row": self.n_skipped_in_a_row,
            "histories": {run.run_id: self.histories[run.run_id] for run in self.runs},
            "ended": [asdict(result) for result in self.ended],
        }
        save_checkpoint(folder, self.step, Checkpoint(tensors, values))

    def resume(
        self, folder: Path, split_from: Sequence[Path] = ()
    ) -> tuple[list[RunResult], list[str]]:
        """Continue from the newest intact checkpoint, if it holds every run of this pack.

        Args:
            folder: the pack's own folder.
            split_from: folders of the packs that this one was split from, nearest first; used in
                turn while there is no checkpoint. The time until then is shared out.

        Returns:
            The results of the runs that had ended before it, and remarks for the user.

        Raises:
            ConfigError: the checkpoint was made on another kind of device.
        """
        remarks: list[str] = []
        for place in (folder, *split_from):
            checkpoint, damaged = load_newest(place)
            remarks += damaged
            if checkpoint is not None:
                break
        if checkpoint is None:
            return [], remarks
        tensors, values = checkpoint
        going = values["run_ids"]
        ended = {entry["run_id"]: _result_from(entry) for entry in values["ended"]}
        wanted = [run.run_id for run in self.runs]
        if not set(wanted) <= set(going) | set(ended):
            return [], [*remarks, f"{place}: its checkpoint belongs to other runs and is not used"]
        remarks += compare_devices(place, values.get("device", {}), self._made_with())
        if kernel := values.get("kernel"):  # older checkpoints do not say
            self.model.kernel, why_other = resumed_kernel(kernel, self.device)
            remarks += [f"{place}: {why_other}"] if why_other else []
        self.keep([row for row, run_id in enumerate(wanted) if run_id in going])
        rows = [going.index(run.run_id) for run in self.runs]
        for name, parameter in self.model.named_parameters():
            parameter.data.copy_(tensors[f"model/{name}"][rows])
            if any(config.optim.ema_decay for config in self.configs):
                self.averages[name] = tensors[f"averages/{name}"][rows].to(self.device)
        for name, buffer in self.model.buffers_of_runs().items():
            buffer.copy_(tensors[f"buffers/{name}"][rows])
        for name, total in self.sums.state().items():
            total.copy_(tensors[f"sums/{name}"][rows])
        if self.label_prior is not None:
            self.label_prior.mean = tensors["label_prior"][rows].to(self.device)
        for row, run in enumerate(self.runs):
            prefix = f"optim/{run.run_id}/"
            self.optimizer.load_state(
                row,
                {
                    n.removeprefix(prefix): t.clone()  # of its own, not in the file's memory
                    for n, t in tensors.items()
                    if n.startswith(prefix)
                },
            )
        self.step, self.seconds = values["step"], values["seconds"]
        if place == folder:
            self.n_runs_at_start = values["n_runs_at_start"]
        else:
            self.seconds *= len(wanted) / values["n_runs_at_start"]
        self.n_skipped = [values["n_skipped"][row] for row in rows]
        self.n_skipped_in_a_row = [values["n_skipped_in_a_row"][row] for row in rows]
        if rows:  # otherwise the checkpoint may be past the largest budget of this pack
            self.grad_norms[:, : self.step] = tensors["grad_norms"][rows]
        self.histories = {run.run_id: values["histories"][run.run_id] for run in self.runs}
        self.ended = [ended[run_id] for run_id in wanted if run_id in ended]
        return list(self.ended), remarks

    def _made_with(self) -> dict[str, str]:
        return {"type": self.device.type, "name": device_name(self.device)}


def make_optimizer(
    configs: Sequence[OptimConfig], model: PackedDecoder, device: torch.device
) -> optim.PackOptimizer:
    """The optimizer for a device: of all runs at once on a GPU, else one of PyTorch's a run."""
    parameters, groups, parts = dict(model.named_parameters()), model.groups(), model.model_parts()
    if device.type != "cuda":
        return optim.RunOptimizers(configs, parameters, groups, parts)
    return StackedOptimizer(configs, parameters, groups, why_not(device) is None, parts=parts)


def _result_from(entry: Mapping[str, Any]) -> RunResult:
    """A result that `PackState.save` wrote; JSON lists become tuples again."""
    tuples = {
        "history": tuple(entry["history"]),
        "per_session": {name: tuple(counts) for name, counts in entry["per_session"].items()},
        "confusions": tuple(tuple(triple) for triple in entry["confusions"]),
    }
    return RunResult(**{**entry, **tuples})
