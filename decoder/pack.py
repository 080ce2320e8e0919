"""What goes into training and what comes out of it: runs, packs, progress, results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from decoder.config import DecoderConfig

HistoryRow = dict[str, float]

WEIGHTS_NAME = "weights.safetensors"  # of a run that keeps its weights, in its folder

# Columns of a history row, in order; counts are summed over the validation trials.
HISTORY_COLUMNS = (
    "step",
    "per",  # n_edits / n_reference
    "n_edits",
    "n_reference",
    "n_edits_even",  # of the trials with an even place in the validation split
    "n_reference_even",
    "blank_fraction",  # frames whose argmax is blank, padding left out
    "emitted_ratio",  # emitted length / target length, both summed
    "n_distinct",  # distinct phonemes emitted
    "blank_posterior",  # mean posterior of blank over frames
    "entropy_nats",  # mean entropy of the posterior over frames
    "val_loss",  # mean over trials of the summed plain CTC loss, nats
    "train_loss",  # mean over the steps since the last row, of what the run minimises; inf if
    #   all of them were skipped
    "grad_norm",  # mean over the steps since the last row, before clipping
    "grad_norm_max",  # largest since the last row, before clipping
    "clipped_share",  # share of steps clipped since the last row
    "update_norm",  # norm of this step's change of the weights
    "epsilon_over_grad_rms",  # epsilon / root mean square of this step's clipped gradient
    #   (0 for SGD, which has no epsilon)
    "learning_dose",  # sum over all steps of lr * min(grad_norm, grad_clip)
    "lr",  # learning rate of this step
)


@dataclass(frozen=True)
class Run:
    """One arm with one seed. `config` is resolved."""

    run_id: str
    config: DecoderConfig


@dataclass(frozen=True)
class Pack:
    """The runs of one seed that train together; all have the same `decoder.config.pack_key`."""

    pack_id: str
    seed: int
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class RunResult:
    """How one run ended.

    Attributes:
        run_id: identity of the run.
        status: ``ok`` ran to its last step; ``diverged`` met a loss, gradient or weight that is
            not finite (with ``optim.on_non_finite`` at ``skip``, for good) and was frozen at
            `n_steps_done`.
        history: one row an evaluation, columns as in `HISTORY_COLUMNS`.
        n_steps_done: optimizer steps taken.
        n_parameters: trainable numbers of the model.
        n_dropped_trials: training and validation trials without a CTC alignment (target longer
            than the output): left out, or kept, see ``loss.zero_infinity``.
        pack_seconds: wall time of the pack up to this run's end, resumed parts included.
        n_runs_in_pack: runs that shared that time.
        peak_memory_bytes: largest resident (CPU) or allocated (GPU) memory of the process.
        device: what it was trained on, "cpu" or a GPU's name.
        grad_norm_quantiles: of the gradient norm before clipping, over all steps taken: "p50",
            "p90", "p99", "max"; empty if no step was taken.
        per_session: session → edits and reference phonemes at the run's last evaluation, greedy,
            for sessions with validation trials; empty for a run that did not get there.
        confusions: (reference, emitted, count) over best alignments, likewise; class 0 is
            nothing, so that (0, c) counts insertions and (c, 0) deletions.
        beam: "per", "n_edits", "n_reference" and "beam_width" of the prefix beam search at the
            last evaluation; empty without one.
        n_skipped_steps: steps whose update was left out, see ``optim.on_non_finite``.
    """

    run_id: str
    status: Literal["ok", "diverged"]
    history: tuple[HistoryRow, ...]
    n_steps_done: int
    n_parameters: int
    n_dropped_trials: int
    pack_seconds: float
    n_runs_in_pack: int
    peak_memory_bytes: int
    device: str = "cpu"
    grad_norm_quantiles: Mapping[str, float] = field(default_factory=dict)
    per_session: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    confusions: tuple[tuple[int, int, int], ...] = ()
    beam: Mapping[str, float] = field(default_factory=dict)
    n_skipped_steps: int = 0


@dataclass(frozen=True)
class Progress:
    """Yielded by `decoder.train.train` after each evaluation, whenever a run ends, and at a pause.

    Attributes:
        step: optimizer steps done.
        latest: run id → its newest history row, for the runs evaluated at this step.
        finished: runs that ended since the last event.
        remarks: what a user should be told, for instance of a damaged checkpoint.
        paused: run id → all its history rows, for the runs that are left where the pack pauses.
    """

    step: int
    latest: Mapping[str, HistoryRow] = field(default_factory=dict)
    finished: Sequence[RunResult] = ()
    remarks: Sequence[str] = ()
    paused: Mapping[str, tuple[HistoryRow, ...]] = field(default_factory=dict)
