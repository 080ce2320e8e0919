"""Which trials CTC can align: lengths of outputs and targets, computed without torch."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from decoder.config import DecoderConfig
from decoder.data.shares import held_out_days, trials_to_train, validates_apart
from decoder.data.store import Dataset, Split
from decoder.errors import DataError
from decoder.sections import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

Count = TypeVar("Count", int, NDArray[np.int64], "Tensor")
Counts = TypeVar("Counts", NDArray[np.int64], "Tensor")

# A split in which a larger fraction of trials would be left out is refused: something is wrong.
MAX_SHARE_TOO_LONG = 0.01


@dataclass(frozen=True)
class Unaligned:
    """Trials without a CTC alignment, by reason, as indices into the split.

    Attributes:
        too_long: trials whose target, with the blanks between repeats, is longer than their number
            of patches, including trials shorter than one patch. They are left out, except those
            that ``loss.zero_infinity`` keeps, see `usable_trials`.
        empty: trials without a target. They are left out.
    """

    too_long: tuple[int, ...]
    empty: tuple[int, ...]


def n_patches(n_bins: Count, patch_size: int, patch_stride: int) -> Count:
    """Number of whole patches in `n_bins` bins: the length of the decoder's output.

    Args:
        n_bins: an int, or an integer tensor or array of any shape.
        patch_size: bins in a patch.
        patch_stride: bins from one patch to the next.

    Returns:
        Of the same type and shape; 0 or negative if there are fewer bins than in a patch.
    """
    return (n_bins - patch_size) // patch_stride + 1


def output_lengths(n_bins: Counts, model: ModelConfig) -> Counts:
    """Number of patches of each trial that CTC and decoding use; at least 0.

    These are all whole patches, or one fewer, see ``model.count_last_patch``.

    Args:
        n_bins: valid bins, an integer tensor or array of any shape.
        model: its patch size, stride and ``count_last_patch`` are read.
    """
    n = n_patches(n_bins, model.patch_size, model.patch_stride)
    n = n if model.count_last_patch else n - 1
    return n.clip(min=0)


def n_patches_needed(target: NDArray[np.int64]) -> int:
    """The least number of patches for CTC: one per label, and one blank between equal neighbours.

    Args:
        target: (L,) int64 classes; an empty target needs no patch.
    """
    return len(target) + int((target[1:] == target[:-1]).sum())


def usable_trials(
    split: Split,
    model: ModelConfig,
    random_cut: int,
    sessions: Sequence[str] = (),
    zero_infinity: bool = False,
    held_out: Collection[int] = (),
) -> tuple[NDArray[np.int64], Unaligned]:
    """The trials that a decoder is trained or evaluated on, and those that CTC cannot align.

    A trial is used if CTC can align it after any cut. The loss of other trials with a target is
    infinite. They do not occur in the official T15 data, and are left out. The official T12
    trainer keeps them with a loss of zero: such a trial has no gradient but takes up a place in
    its batch, and it counts in the validation PER. With `zero_infinity` the same happens here, and
    then any number of them is allowed, because the PER shows them. Trials without a single patch
    are always left out, as there is nothing to train or decode.

    Args:
        split: trials of one split.
        model: decides how many patches a trial has.
        random_cut: 0 to `random_cut` - 1 bins are cut off the front of a batch; 0 for evaluation.
        sessions: names of the days, for error messages.
        zero_infinity: whether to keep trials that have patches, but too few.
        held_out: days whose trials neither count nor come back.

    Returns:
        (n_kept,) int64 indices into the split, ascending; and the trials without an alignment,
        kept or not.

    Raises:
        DataError: more than 1 % of the trials with a target would be left out, or none is left.
    """
    needed = np.array([n_patches_needed(split.target(i)) for i in range(split.n_trials)], np.int64)
    available = output_lengths(split.bin_counts - max(random_cut - 1, 0), model)
    apart = np.isin(split.day, sorted(held_out))
    empty, has_target = ~apart & (needed == 0), ~apart & (needed > 0)
    too_long = has_target & (needed > available)
    dropped = too_long & (available == 0) if zero_infinity else too_long
    n_dropped, n_with_target = int(dropped.sum()), int(has_target.sum())
    if n_dropped > MAX_SHARE_TOO_LONG * n_with_target:
        examples = "; ".join(
            f"{_trial_name(split, i, sessions)}: {split.n_bins(i)} bins give "
            f"{available[i]} patches, the target needs {needed[i]}"
            for i in _indices(dropped)[:5]
        )
        raise DataError(
            f"{n_dropped} of {n_with_target} trials are too short for their targets at "
            f"model.patch_size {model.patch_size}, model.patch_stride {model.patch_stride}, "
            f"augment.random_cut {random_cut}; at most 1 % may be dropped. {examples}. "
            "Use a smaller model.patch_stride, or correct the recordings"
        )
    kept = np.flatnonzero(has_target & ~dropped)
    if not len(kept):
        raise DataError(
            f"none of {int((~apart).sum())} trials has a target, so nothing can be trained; give "
            "recordings with targets"
        )
    return kept, Unaligned(_indices(too_long), _indices(empty))


# Below this share clipped values are not remarked on.
_CLIPPED_WORTH_SAYING = 0.001


def check_trainable(dataset: Dataset, config: DecoderConfig) -> tuple[str, ...]:
    """Check, as training does, that a configuration can be trained on a data set.

    Returns:
        Remarks on the recordings, as sentences: what is left out, not evaluated or clipped.

    Raises:
        DataError: too many targets are longer than the output, too few days have trials, sessions
            cannot be held out, there are no trials without labels whose logits could be kept, or
            decoding to words lacks sentences.
    """
    cut, zero_infinity = config.augment.random_cut, config.loss.zero_infinity
    sessions, held_out = dataset.sessions, held_out_days(dataset.sessions, config.data)
    kept, train = usable_trials(dataset.train, config.model, cut, sessions, zero_infinity, held_out)
    evaluated, val = usable_trials(dataset.val, config.model, 0, sessions, zero_infinity)
    validates_apart(dataset.val.day[evaluated], sessions, config.data)
    # Shares take as many sessions for every seed.
    taken = trials_to_train(dataset.train, sessions, config.data, seed=0)
    n_days = len(np.unique(dataset.train.day[kept[taken[kept]]]))
    if config.data.sampling == "days" and config.data.days_per_batch > n_days:
        n_others = len(sessions) - n_days
        why = (
            f" ({n_others} are left out by data.held_out_sessions or data.train_sessions_share)"
            if config.data.leaves_sessions_out
            else ""
        )
        raise DataError(
            f"data.days_per_batch is {config.data.days_per_batch}, but only {n_days} sessions "
            f"have usable train trials{why}; set data.days_per_batch to at most {n_days}"
        )
    if "test" in config.train.kept_logits:
        from decoder.data.in_order import unlabelled_trials  # which imports what reads recordings

        unlabelled_trials(dataset, config.data)
    if config.evaluation.words.is_on:
        check_sentences(dataset)
    return tuple(_remarks(dataset, config, train, val))


def check_sentences(dataset: Dataset) -> None:
    """Refuse recordings whose sentences are not known, if runs are decoded to words.

    Raises:
        DataError: no validation trial says its sentence.
    """
    if not any(dataset.val.sentences or ()):
        raise DataError(
            f"{dataset.path}: no validation trial says its sentence, with which words are "
            "compared; the releases T15 (sentence_label) and T12 (sentenceText) and generated "
            "recordings do; for others set evaluation.words.decoder to none"
        )


def _remarks(
    dataset: Dataset, config: DecoderConfig, train: Unaligned, val: Unaligned
) -> Iterator[str]:
    n_sessions, n_without = len(dataset.sessions), dataset.counts["sessions_without_val"]
    if n_without:
        yield (
            f"{n_without} of {n_sessions} sessions have no validation trials, so PER says nothing "
            "about them"
        )
    if train.empty or val.empty:
        yield (
            f"{len(train.empty)} training and {len(val.empty)} validation trials have an empty "
            "target and are left out"
        )
    if train.too_long or val.too_long:
        model = config.model
        outcome = "have no loss" if config.loss.zero_infinity else "are left out"
        yield (
            f"{len(train.too_long)} training and {len(val.too_long)} validation targets are longer "
            f"than the output (patches of {model.patch_size} bins every {model.patch_stride}, "
            f"{config.augment.random_cut} bins cut at random) and {outcome}"
        )
    n_values = dataset.train.features.size + dataset.val.features.size
    clipped = dataset.counts.get("clipped_values", 0) / max(1, n_values)
    if clipped >= _CLIPPED_WORTH_SAYING:
        yield f"{clipped:.2%} of the feature values are clipped in the recordings"


def _trial_name(split: Split, trial: int, sessions: Sequence[str]) -> str:
    day = split.day[trial]
    session = sessions[day] if day < len(sessions) else f"day {day}"
    return f"{session} block {split.block[trial]} trial {split.trial_number[trial]}"


def _indices(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(mask))
