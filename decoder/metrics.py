"""Metrics of R runs as sums that are divided once: PER and collapse, and figures of training.

Dimensions: R runs, B batch, P patches, C classes, L labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from decoder.ctc import ctc_losses, edit_distance, greedy_decode
from decoder.host import to_host
from decoder.phonemes import BLANK


@dataclass
class MetricSums:
    """Sums over the validation trials, for each of R runs."""

    n_edits: list[int]
    n_edits_even: list[int]  # of the trials at even positions of the split
    n_emitted: list[int]
    emitted_classes: list[set[int]]
    n_blank_frames: Tensor  # (R,)
    blank_posterior: Tensor  # (R,)
    entropy_nats: Tensor  # (R,)
    loss: Tensor  # (R,)
    n_reference: int = 0
    n_reference_even: int = 0
    n_frames: int = 0
    n_trials: int = 0

    @classmethod
    def zeros(cls, n_runs: int, device: torch.device) -> "MetricSums":
        def zeros() -> Tensor:
            return torch.zeros(n_runs, dtype=torch.float64, device=device)

        return cls(
            n_edits=[0] * n_runs,
            n_edits_even=[0] * n_runs,
            n_emitted=[0] * n_runs,
            emitted_classes=[set() for _ in range(n_runs)],
            n_blank_frames=zeros(),
            blank_posterior=zeros(),
            entropy_nats=zeros(),
            loss=zeros(),
        )

    def add(
        self,
        logits: Tensor,
        labels: Tensor,
        n_patches: Tensor,
        n_labels: Tensor,
        zero_infinity: bool,
        index: Tensor,
    ) -> list[list[list[int]]]:
        """Add one batch: `add_posteriors`, then `add_sequences`."""
        best = self.add_posteriors(logits, labels, n_patches, n_labels, zero_infinity)
        return self.add_sequences(best, labels, n_patches, n_labels, index)

    def add_posteriors(
        self,
        logits: Tensor,
        labels: Tensor,
        n_patches: Tensor,
        n_labels: Tensor,
        zero_infinity: bool,
    ) -> Tensor:
        """Add what is summed on the device: losses, and figures of the posteriors.

        Args:
            logits: (R, P, B, C).
            labels: (B, L) int64, padded.
            n_patches: (B,) int64.
            n_labels: (B,) int64.
            zero_infinity: see `decoder.ctc.ctc_losses`.

        Returns:
            (R, P, B) int64, the class with the highest posterior at each patch.
        """
        P = logits.shape[1]
        log_probs = logits.float().log_softmax(-1)
        self.loss += ctc_losses(log_probs, labels, n_patches, n_labels, zero_infinity).sum(1)
        # A trial without labels has no PER, but its loss and frames count.
        valid = torch.arange(P, device=logits.device)[:, None] < n_patches  # (P, B)
        best = logits.argmax(-1)  # (R, P, B)
        self.n_blank_frames += ((best == BLANK) & valid).sum((1, 2))
        self.blank_posterior += (log_probs[..., BLANK].exp() * valid).sum((1, 2))
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        self.entropy_nats += (entropy * valid).sum((1, 2))
        return best

    def add_sequences(
        self, best: Tensor, labels: Tensor, n_patches: Tensor, n_labels: Tensor, index: Tensor
    ) -> list[list[list[int]]]:
        """Add what is counted on the host: edits, emitted classes, frames and trials.

        Args:
            best: (R, P, B) int64 class with the highest posterior at each patch.
            labels: (B, L) int64, padded.
            n_patches: (B,) int64.
            n_labels: (B,) int64.
            index: (B,) int64 position of each trial in its split.

        Returns:
            For each of R runs and B trials, the classes from greedy decoding.
        """
        R, P, B = best.shape
        self.n_frames += int(n_patches.sum())
        self.n_reference += int(n_labels.sum())
        even = (index % 2 == 0).tolist()
        self.n_trials += B

        rows = best.transpose(1, 2).reshape(R * B, P)
        decoded = greedy_decode(rows, n_patches.repeat(R))
        targets = [row[:n] for row, n in zip(labels.tolist(), n_labels.tolist(), strict=True)]
        self.n_reference_even += sum(len(t) for t, e in zip(targets, even, strict=True) if e)
        for i, sequence in enumerate(decoded):
            run, trial = divmod(i, B)
            self.n_emitted[run] += len(sequence)
            self.emitted_classes[run].update(sequence)
            if targets[trial]:
                n_edits = edit_distance(sequence, targets[trial])
                self.n_edits[run] += n_edits
                self.n_edits_even[run] += n_edits if even[trial] else 0
        return [decoded[run * B : (run + 1) * B] for run in range(R)]

    def send_to_host(self) -> None:
        """Start to copy the sums on the device to the host; see `decoder.host.to_host`."""
        for name in ("n_blank_frames", "blank_posterior", "entropy_nats", "loss"):
            setattr(self, name, to_host(getattr(self, name)))

    def rows(self) -> list[dict[str, float]]:
        """For each run, the columns of `decoder.pack.HISTORY_COLUMNS` that evaluation gives."""
        tensors = torch.stack(
            [self.n_blank_frames, self.blank_posterior, self.entropy_nats], dim=1
        ) / max(self.n_frames, 1)
        loss = (self.loss / max(self.n_trials, 1)).tolist()
        n_reference = max(self.n_reference, 1)
        columns = zip(
            self.n_edits,
            self.n_edits_even,
            self.n_emitted,
            self.emitted_classes,
            tensors.tolist(),
            loss,
            strict=True,
        )
        return [
            {
                "per": n_edits / n_reference,
                "n_edits": float(n_edits),
                "n_reference": float(self.n_reference),
                "n_edits_even": float(n_edits_even),
                "n_reference_even": float(self.n_reference_even),
                "blank_fraction": blank_fraction,
                "emitted_ratio": n_emitted / n_reference,
                "n_distinct": float(len(classes)),
                "blank_posterior": blank_posterior,
                "entropy_nats": entropy,
                "val_loss": run_loss,
            }
            for n_edits, n_edits_even, n_emitted, classes, (
                blank_fraction,
                blank_posterior,
                entropy,
            ), run_loss in columns
        ]


@dataclass
class TrainingSums:
    """Sums of training for each of R runs, since the last evaluation or over all steps."""

    train_loss: Tensor  # (R,); since the last evaluation, like all others except the dose
    grad_norm: Tensor
    grad_norm_max: Tensor
    n_clipped: Tensor
    n_steps: Tensor
    learning_dose: Tensor  # over all steps

    @classmethod
    def zeros(cls, n_runs: int, device: torch.device) -> "TrainingSums":
        return cls(*[torch.zeros(n_runs, dtype=torch.float64, device=device) for _ in range(6)])

    def add(
        self,
        losses: Tensor,
        norms: Tensor,
        factors: Tensor,
        rates: Tensor,
        taken: Tensor | None = None,
    ) -> None:
        """Add one step.

        Args:
            losses: (R,); 0 for runs that skip the step.
            norms: (R,) gradient norms before clipping; 0 for runs that skip the step.
            factors: (R,) clip factors.
            rates: (R,) float64 learning rates.
            taken: (R,) bool, whether a run takes the step; None means that all do.
        """
        self.train_loss += losses
        self.grad_norm += norms
        self.grad_norm_max = torch.maximum(self.grad_norm_max, norms.double())
        self.n_clipped += factors < 1
        self.learning_dose += rates * norms * factors
        self.n_steps += 1 if taken is None else taken

    def rows(self) -> list[dict[str, float]]:
        """For each run, the columns of `decoder.pack.HISTORY_COLUMNS` that sum up training."""
        n = self.n_steps.clamp(min=1)
        columns = {
            "train_loss": (self.train_loss / n).where(self.n_steps > 0, float("inf")),
            "grad_norm": self.grad_norm / n,
            "grad_norm_max": self.grad_norm_max,
            "clipped_share": self.n_clipped / n,
            "learning_dose": self.learning_dose,
        }
        values = [column.tolist() for column in columns.values()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]

    def start_interval(self, starts: Tensor) -> None:
        """Reset all sums except the dose for the runs that start an interval. starts: (R,) bool."""
        for name, total in self.state().items():
            if name != "learning_dose":
                total.masked_fill_(starts, 0.0)

    def state(self) -> dict[str, Tensor]:
        """Every sum by name, for a checkpoint."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    def keep_runs(self, rows: Sequence[int]) -> None:
        """Keep only the runs at `rows`."""
        for name, total in self.state().items():
            setattr(self, name, total[list(rows)])


def norm_quantiles(norms: Tensor) -> dict[str, float]:
    """The median, two high quantiles and the maximum of gradient norms, (n_steps,)."""
    taken = norms[~norms.isnan()].cpu().numpy()  # without skipped steps
    values = np.quantile(taken, [0.5, 0.9, 0.99, 1.0]).tolist() if len(taken) else ()
    return dict(zip(("p50", "p90", "p99", "max"), values, strict=False))
