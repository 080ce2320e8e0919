"""The state of a pack in training: weights, optimizers, sums, histories; saving and resuming it."""

import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from decoder import optim
from decoder.breakdown import Breakdown
from decoder.checkpoint import Checkpoint, load_newest, save_checkpoint
from decoder.config import DecoderConfig
from decoder.data.store import Dataset
from decoder.metrics import TrainingSums
from decoder.model.decoder import PackedDecoder
from decoder.model.kernel_choice import resumed_kernel
from decoder.objective import LabelPrior
from decoder.pack import HistoryRow, Pack, Run, RunResult

# Weights without a finite loss on this many batches in a row are taken as diverged.
MAX_SKIPPED_IN_A_ROW = 20


@dataclass
class PackState:
    """The state of a pack in training: step, unfinished runs, weights, optimizers, sums."""

    device: torch.device
    sessions: Sequence[str]
    n_runs_at_start: int
    runs: list[Run]
    model: PackedDecoder
    optimizers: list[optim.RunOptimizer]
    sums: TrainingSums
    grad_norms: Tensor  # (R, largest budget), before clipping, filled up to `step`
    histories: dict[str, list[HistoryRow]]
    ended: list[RunResult]  # kept in checkpoints: a retry may need them again
    n_skipped: list[int]  # skipped updates of each unfinished run, in total
    n_skipped_in_a_row: list[int]  # and since its last update
    breakdowns: dict[str, Breakdown] = field(default_factory=dict)  # of runs about to end
    label_prior: LabelPrior | None = None  # if a run of the pack has a weight for it
    averages: dict[str, Tensor] = field(default_factory=dict)  # see `average`; empty if not needed
    step: int = 0
    seconds: float = 0.0

    @property
    def configs(self) -> list[DecoderConfig]:
        """The configuration of each unfinished run."""
        return [run.config for run in self.runs]

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
        ).to(device)
        return cls(
            device=device,
            sessions=dataset.sessions,
            n_runs_at_start=len(pack.runs),
            runs=list(pack.runs),
            model=model,
            optimizers=_optimizers(pack.runs, model),
            sums=TrainingSums.zeros(len(pack.runs), device),
            grad_norms=torch.zeros(
                len(pack.runs), max(run.config.train.n_steps for run in pack.runs)
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
        )

    def count_skips(self, finite: Sequence[bool]) -> list[bool]:
        """Count the runs that skip this step because a loss or gradient is not finite.

        Args:
            finite: for each run, whether its loss and gradients are finite.

        Returns:
            For each run, whether it ends as diverged. The other runs that are not finite skip the
            step.
        """
        ending = []
        for row, (run, ok) in enumerate(zip(self.runs, finite, strict=True)):
            skips = not ok and run.config.optim.on_non_finite == "skip"
            self.n_skipped[row] += skips
            self.n_skipped_in_a_row[row] = self.n_skipped_in_a_row[row] + 1 if skips else 0
            too_many = self.n_skipped_in_a_row[row] >= MAX_SKIPPED_IN_A_ROW
            ending.append(too_many or not (ok or skips))
        return ending

    def average(self, taken: Sequence[bool] | None) -> None:
        """Update the moving averages of weights for runs with ``optim.ema_decay``.

        For a run without it, the average is its current weights. A run that skips the step keeps
        its average.

        Args:
            taken: for each run, whether it takes the step; None means that all do.
        """
        decays = [config.optim.ema_decay for config in self.configs]
        if not any(decays):
            return
        weights = {name: p.detach() for name, p in self.model.named_parameters()}
        if self.step == 0:
            self.averages = {name: value.clone() for name, value in weights.items()}
        elif taken is not None:
            decays = [decay if ok else 1.0 for decay, ok in zip(decays, taken, strict=True)]
        optim.average_weights(self.averages, weights, decays)

    @contextmanager
    def evaluated_weights(self) -> Iterator[None]:
        """A context in which the model has the weights to evaluate: averages, if there are any."""
        trained = {name: p.data for name, p in self.model.named_parameters()}
        for name, parameter in self.model.named_parameters():
            parameter.data = self.averages.get(name, parameter.data)
        try:
            yield
        finally:
            for name, parameter in self.model.named_parameters():
                parameter.data = trained[name]

    def finish(
        self, leaving: Sequence[bool], status: Literal["ok", "diverged"], n_dropped: int
    ) -> list[RunResult]:
        """Remove runs from the pack, with their weights and optimizers.

        Args:
            leaving: for each run, whether it leaves.
            status: how the leaving runs end.
            n_dropped: trials without a CTC alignment, for the results.

        Returns:
            The results of the leaving runs.
        """
        results = []
        for row, (run, leaves) in enumerate(zip(self.runs, leaving, strict=True)):
            if leaves:
                results.append(self._result(row, run, status, n_dropped))
        self.keep([i for i, leaves in enumerate(leaving) if not leaves])
        self.ended += results
        return results

    def _result(
        self, row: int, run: Run, status: Literal["ok", "diverged"], n_dropped: int
    ) -> RunResult:
        breakdown = self.breakdowns.pop(run.run_id, None)
        return RunResult(
            run_id=run.run_id,
            status=status,
            history=tuple(self.histories[run.run_id]),
            n_steps_done=self.step,
            n_parameters=self.model.n_parameters(),
            n_dropped_trials=n_dropped,
            pack_seconds=self.seconds,
            n_runs_in_pack=self.n_runs_at_start,
            peak_memory_bytes=_peak_memory_bytes(self.device),
            device=_device_name(self.device),
            grad_norm_quantiles=_quantiles(self.grad_norms[row, : self.step]),
            per_session=breakdown.per_session(self.sessions) if breakdown else {},
            confusions=breakdown.confusion_counts() if breakdown else (),
            beam=breakdown.beam() if breakdown else {},
            n_skipped_steps=self.n_skipped[row],
        )

    def keep(self, rows: list[int]) -> None:
        """Keep only the runs at `rows`."""
        states = [self.optimizers[row].state() for row in rows]
        self.runs = [self.runs[row] for row in rows]
        self.model.keep_runs(rows)
        self.sums.keep_runs(rows)
        if self.label_prior is not None:
            self.label_prior.keep_runs(rows)
        self.grad_norms = self.grad_norms[rows]
        self.n_skipped = [self.n_skipped[row] for row in rows]
        self.n_skipped_in_a_row = [self.n_skipped_in_a_row[row] for row in rows]
        needed = any(config.optim.ema_decay for config in self.configs)
        self.averages = {n: t[rows] for n, t in self.averages.items()} if needed else {}
        self.optimizers = _optimizers(self.runs, self.model)
        for optimizer, tensors in zip(self.optimizers, states, strict=True):
            optimizer.load_state(tensors)

    def save(self, folder: Path) -> None:
        """Write a checkpoint from which `resume` continues exactly.

        Raises:
            StorageError: the checkpoint cannot be written.
        """
        tensors = {f"model/{n}": p.detach() for n, p in self.model.named_parameters()}
        tensors |= {f"sums/{n}": t for n, t in self.sums.state().items()}
        tensors |= {f"averages/{n}": t for n, t in self.averages.items()}
        if self.label_prior is not None:
            tensors["label_prior"] = self.label_prior.mean
        tensors["grad_norms"] = self.grad_norms[:, : self.step]
        for run, optimizer in zip(self.runs, self.optimizers, strict=True):
            tensors |= {f"optim/{run.run_id}/{n}": t for n, t in optimizer.state().items()}
        values = {
            "run_ids": [run.run_id for run in self.runs],
            "n_runs_at_start": self.n_runs_at_start,
            "kernel": self.model.kernel,
            "step": self.step,
            "seconds": self.seconds,
            "n_skipped": self.n_skipped,
            "n_skipped_in_a_row": self.n_skipped_in_a_row,
            "histories": {run.run_id: self.histories[run.run_id] for run in self.runs},
            "ended": [asdict(result) for result in self.ended],
        }
        save_checkpoint(folder, self.step, Checkpoint(tensors, values))

    def resume(self, folder: Path) -> tuple[list[RunResult], list[str]]:
        """Continue from the newest intact checkpoint, if it holds every run of this pack.

        Returns:
            The results of the runs that had ended before it, and remarks for the user.
        """
        checkpoint, remarks = load_newest(folder)
        if checkpoint is None:
            return [], remarks
        tensors, values = checkpoint
        going = values["run_ids"]
        ended = {entry["run_id"]: _result_from(entry) for entry in values["ended"]}
        wanted = [run.run_id for run in self.runs]
        if not set(wanted) <= set(going) | set(ended):
            return [], [*remarks, f"{folder}: its checkpoint belongs to other runs and is not used"]
        if kernel := values.get("kernel"):  # older checkpoints do not say
            self.model.kernel, why_other = resumed_kernel(kernel, self.device)
            remarks += [f"{folder}: {why_other}"] if why_other else []
        self.keep([row for row, run_id in enumerate(wanted) if run_id in going])
        rows = [going.index(run.run_id) for run in self.runs]
        for name, parameter in self.model.named_parameters():
            parameter.data.copy_(tensors[f"model/{name}"][rows])
            if any(config.optim.ema_decay for config in self.configs):
                self.averages[name] = tensors[f"averages/{name}"][rows].to(self.device)
        for name, total in self.sums.state().items():
            total.copy_(tensors[f"sums/{name}"][rows])
        if self.label_prior is not None:
            self.label_prior.mean = tensors["label_prior"][rows].to(self.device)
        for run, optimizer in zip(self.runs, self.optimizers, strict=True):
            prefix = f"optim/{run.run_id}/"
            optimizer.load_state(
                {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            )
        self.n_runs_at_start = values["n_runs_at_start"]
        self.step, self.seconds = values["step"], values["seconds"]
        self.n_skipped = [values["n_skipped"][row] for row in rows]
        self.n_skipped_in_a_row = [values["n_skipped_in_a_row"][row] for row in rows]
        if rows:  # otherwise the checkpoint may be past the largest budget of this pack
            self.grad_norms[:, : self.step] = tensors["grad_norms"][rows]
        self.histories = {run.run_id: values["histories"][run.run_id] for run in self.runs}
        self.ended = [ended[run_id] for run_id in wanted if run_id in ended]
        return list(self.ended), remarks


def _optimizers(runs: Sequence[Run], model: PackedDecoder) -> list[optim.RunOptimizer]:
    parameters, groups = dict(model.named_parameters()), model.groups()
    return [
        optim.RunOptimizer(run.config.optim, parameters, groups, row)
        for row, run in enumerate(runs)
    ]


def _result_from(entry: Mapping[str, Any]) -> RunResult:
    """A result that `PackState.save` wrote; JSON lists become tuples again."""
    tuples = {
        "history": tuple(entry["history"]),
        "per_session": {name: tuple(counts) for name, counts in entry["per_session"].items()},
        "confusions": tuple(tuple(triple) for triple in entry["confusions"]),
    }
    return RunResult(**{**entry, **tuples})


def _quantiles(norms: Tensor) -> dict[str, float]:
    norms = norms[~norms.isnan()]  # skipped steps
    if not len(norms):
        return {}
    values = np.quantile(norms.numpy(), [0.5, 0.9, 0.99, 1.0])
    return dict(zip(("p50", "p90", "p99", "max"), values.tolist(), strict=True))


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _peak_memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
