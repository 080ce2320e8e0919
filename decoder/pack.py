"""The inputs and outputs of training: runs, packs, progress, results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal

from typing_extensions import (
    TypedDict,  # what pydantic asks for below Python 3.12
    TypeVar,  # has defaults, which those of `typing` lack below 3.13
)

from decoder.config import DecoderConfig

# Training here gets runs of our decoder. Others may plan and record runs of other configurations.
ConfigT_co = TypeVar("ConfigT_co", covariant=True, default=DecoderConfig)

HistoryRow = dict[str, float]

WEIGHTS_NAME = "weights.safetensors"  # in the folder of a run that keeps its weights
# In the folder of a run that keeps the logits of a split; each has a .json file beside it.
LOGITS_NAMES = {"validation": "logits.npz", "test": "test_logits.npz"}
LOGITS_NAME = LOGITS_NAMES["validation"]

# Columns of a history row, in order. Counts are sums over the validation trials.
HISTORY_COLUMNS = (
    "step",
    "per",  # n_edits / n_reference
    "n_edits",
    "n_reference",
    "n_edits_even",  # of the trials at even positions of the validation split
    "n_reference_even",
    "blank_fraction",  # frames whose argmax is blank, padding left out
    "emitted_ratio",  # emitted length / target length, both summed
    "n_distinct",  # distinct phonemes emitted
    "blank_posterior",  # mean posterior of blank over frames
    "entropy_nats",  # mean entropy of the posterior over frames
    "val_loss",  # plain CTC loss of a trial, mean over trials, nats
    "train_loss",  # training loss, mean over the steps since the last row; inf if all of them
    #   were skipped
    "grad_norm",  # mean over the steps since the last row, before clipping; this and what follows
    #   leave frozen parts out
    "grad_norm_max",  # largest since the last row, before clipping
    "clipped_share",  # share of steps clipped since the last row
    "update_norm",  # norm of this step's change of the weights
    "epsilon_over_grad_rms",  # epsilon / root mean square of this step's clipped gradient
    #   (0 for SGD, which has no epsilon)
    "learning_dose",  # lr * min(grad_norm, grad_clip), summed over all steps
    "lr",  # learning rate of this step
)

# Further columns of runs with sessions held out: the same sums over their validation trials.
HELD_OUT_COLUMNS = ("per_held_out", "n_edits_held_out", "n_reference_held_out")

# Further columns of runs that are decoded to words, see ``evaluation.words``: sums over the trials
# that are reported. NaN at evaluations that are not decoded to words.
WORD_COLUMNS = (
    "wer",  # n_word_edits / n_reference_words
    "n_word_edits",
    "n_reference_words",
    "n_word_substitutions",
    "n_word_deletions",
    "n_word_insertions",
    "wer_oracle",  # n_word_edits_oracle / n_reference_words: the best candidate of each trial
    "n_word_edits_oracle",
    "out_of_vocabulary",  # share of the reference words that the lexicon lacks
)
# The same over the sessions held out, with the weights that the validation trials chose.
HELD_OUT_WORD_COLUMNS = ("wer_held_out", "n_word_edits_held_out", "n_reference_words_held_out")


class HeldOutSession(TypedDict):
    """A run's errors in a session held out, at the last evaluation.

    ``n_edits`` and ``n_reference`` count phonemes. ``days`` is the distance from the nearest
    trained session, negative if that is the later one; None if the names of sessions hold no dates.
    """

    n_edits: int
    n_reference: int
    days: int | None


def further_columns(history: Iterable[Mapping[str, float]]) -> tuple[str, ...]:
    """The columns of some history rows besides `HISTORY_COLUMNS`, in the order of their names.

    They are numbers that only some runs have, such as those that a trainer of the user's reports.
    """
    return tuple(sorted({name for row in history for name in row} - set(HISTORY_COLUMNS)))


@dataclass(frozen=True)
class Run(Generic[ConfigT_co]):
    """One arm with one seed, the unit of training. `config` is resolved."""

    run_id: str
    config: ConfigT_co


@dataclass(frozen=True)
class Pack(Generic[ConfigT_co]):
    """The runs of one seed that train together; all have the same `decoder.config.pack_key`."""

    pack_id: str
    seed: int
    runs: tuple[Run[ConfigT_co], ...]


@dataclass(frozen=True)
class RunResult:
    """The result of one run.

    Attributes:
        run_id: identity of the run.
        status: ``ok`` if the run reached its last step; ``diverged`` if a loss, gradient or weight
            was not finite and the run was frozen at `n_steps_done` (see ``optim.on_non_finite``).
        history: one row for each evaluation, with the columns `HISTORY_COLUMNS` and, the same in
            every row, any others (`further_columns`); NaN where a number is not known.
        n_steps_done: optimizer steps taken.
        n_parameters: numbers of the model, frozen ones included.
        n_dropped_trials: training and validation trials without a CTC alignment (target longer
            than the output). They are left out or kept, see ``loss.zero_infinity``.
        pack_seconds: wall time of the pack up to this run's end, including resumed parts.
        n_runs_in_pack: number of runs that share that time.
        peak_memory_bytes: largest resident (CPU, without mapped files) or allocated (GPU) memory
            of the process while the pack trained.
        device: the device it was trained on, "cpu" or the name of a GPU.
        grad_norm_quantiles: "p50", "p90", "p99" and "max" of the gradient norm before clipping,
            over all steps taken; empty if there are none.
        per_session: session → edits and reference phonemes of greedy decoding at the run's last
            evaluation, for sessions with validation trials; empty if the run ended before it.
        confusions: (reference, emitted, count) over best alignments at the same evaluation. Class
            0 stands for nothing: (0, c) counts insertions and (c, 0) deletions.
        beam: "per", "n_edits", "n_reference" and "beam_width" of the prefix beam search at the
            last evaluation; empty without one.
        n_skipped_steps: steps without an update, see ``optim.on_non_finite``.
        driver: of a GPU, see `decoder.device.driver_version`; empty on another device.
        kernel: the implementation of the recurrence; empty where there is no choice.
        ending: of a trainer of the user's, the rule that decided how the run ended; empty for ours.
        n_train_trials, n_train_sessions: what the run trained on; 0 if it is not known.
        held_out: session → errors in it at the run's last evaluation, for the sessions held out.
        words: what the words of the last evaluation were decoded with, see
            `decoder.word_evaluation.PackWords`; empty without words.
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
    driver: str = ""
    kernel: str = ""
    ending: str = ""
    n_train_trials: int = 0
    n_train_sessions: int = 0
    held_out: Mapping[str, HeldOutSession] = field(default_factory=dict)
    words: Mapping[str, str | int | float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """An event of `decoder.train.train`: an evaluation, the end of a run, or a pause.

    Attributes:
        step: optimizer steps done. The event of an evaluation may come some steps later, with the
            step of the evaluation.
        latest: run id → its newest history row, for the runs evaluated at this step.
        finished: runs that ended since the last event.
        remarks: messages for the user, for instance about a damaged checkpoint.
        paused: run id → all its history rows, for the runs that are left when the pack pauses.
    """

    step: int
    latest: Mapping[str, HistoryRow] = field(default_factory=dict)
    finished: Sequence[RunResult] = ()
    remarks: Sequence[str] = ()
    paused: Mapping[str, tuple[HistoryRow, ...]] = field(default_factory=dict)
