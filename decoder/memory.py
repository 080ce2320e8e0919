"""An estimate of the memory that a pack takes while it trains, from its sizes alone.

It counts the largest tensors of each phase and takes the largest phase: a training step, an
evaluation, or (on a CPU) the writing of a checkpoint. `benchmarks/pack_memory.py` compares it with
what was measured. It loads no torch, so that a driver that only plans never does.

Dimensions: R runs, B batch, T bins, F features, P patches, H units, C classes, L labels.
"""

from typing import NamedTuple

from decoder.config import DecoderConfig
from decoder.data.alignment import n_patches
from decoder.data.store import Dataset
from decoder.part_sizes import PartSizes, part_sizes
from decoder.part_sizes import n_parameters as count

EVALUATION_BATCH_SIZE = 64  # that of `decoder.data.trials`
# The allocator rounds sizes up, keeps what it cannot give back, and small tensors are not counted.
_OVERHEAD = 1.1
# What a process on a CPU holds beside its packs: Python, torch, and what they take at first use.
PROCESS_BYTES = 250 * 2**20
_FLOAT = 4
_BFLOAT = 2


class RecordingsSize(NamedTuple):
    """What of a data set decides the memory of a pack.

    Attributes:
        n_features: F.
        n_classes: C, with the blank.
        n_days: sessions.
        longest_bins: bins of the longest trial of either split.
        longest_target: labels of the longest target.
        n_val_trials: trials of an evaluation.
    """

    n_features: int
    n_classes: int
    n_days: int
    longest_bins: int
    longest_target: int
    n_val_trials: int


def size_of(dataset: Dataset) -> RecordingsSize:
    """The sizes of an open data set."""
    splits = (dataset.train, dataset.val)
    return RecordingsSize(
        n_features=dataset.n_features,
        n_classes=dataset.n_classes,
        n_days=len(dataset.sessions),
        longest_bins=max((int(s.bin_counts.max(initial=0)) for s in splits), default=0),
        longest_target=max((int(s.label_counts.max(initial=0)) for s in splits), default=0),
        n_val_trials=dataset.val.n_trials,
    )


class MemoryEstimate(NamedTuple):
    """The memory of a pack in bytes, without the libraries of its process.

    Attributes:
        shared: what all runs of a pack use together.
        per_run: what each run adds.
    """

    shared: int
    per_run: int

    def of(self, n_runs: int) -> int:
        """The memory of a pack of this many runs."""
        return self.shared + n_runs * self.per_run

    def most_runs(self, n_bytes: float) -> int:
        """How many runs fit into this memory; 0 if not even one does."""
        return max(0, int((n_bytes - self.shared) // self.per_run))

    def scaled(self, factor: float) -> "MemoryEstimate":
        """The estimate times a factor, as when a measurement corrects it."""
        return MemoryEstimate(round(self.shared * factor), max(1, round(self.per_run * factor)))


def estimate_memory(config: DecoderConfig, size: RecordingsSize, device: str) -> MemoryEstimate:
    """The memory that a pack of such runs takes.

    It is meant to be a little too large. On a GPU it assumes that activations are kept in the
    precision of the configuration and checkpoints are written from the memory of the host.

    Args:
        config: of any run of the pack.
        size: of its recordings.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    """
    on_gpu = device.startswith("cuda")
    width = _BFLOAT if config.train.precision == "bfloat16" else _FLOAT
    weights, sizes = _FLOAT * n_parameters(config, size), part_sizes(config, size.n_features)
    copies = 1 + (config.optim.ema_decay > 0) + (1 if config.optim.algorithm == "sgd" else 2)
    # The gradients of the step before are there until those of this step are complete.
    held = (copies + 2) * weights + (weights // 2 if width == _BFLOAT else 0)
    B, T, F = config.data.batch_size, size.longest_bins, size.n_features
    step = _training(config, size, width, sizes)
    B_eval = min(EVALUATION_BATCH_SIZE, max(1, size.n_val_trials))
    # The weights from before the step, and their difference to those after it.
    evaluation = weights + max(weights, _evaluation(config, size, B_eval, width, sizes))
    evaluation += 0 if on_gpu else _kept_for_later(config, size)
    checkpoint = 0 if on_gpu else 3 * copies * weights  # as bytes of tensors, of the file, copied
    per_run = held + _FLOAT * sizes.n_buffers + max(step, evaluation, checkpoint)
    # Trials and random components are drawn, stacked, padded and smoothed once for all runs.
    shared = _FLOAT * 4 * _n_components(config) * B * T * F
    shared += _FLOAT * B_eval * T * F
    return MemoryEstimate(shared, per_run).scaled(_OVERHEAD)


def n_parameters(config: DecoderConfig, size: RecordingsSize) -> int:
    """The trainable numbers of one run on these recordings."""
    return count(config, size.n_features, size.n_classes, size.n_days)


def _n_components(config: DecoderConfig) -> int:
    """The trials, their warped copies and the random components, counted as at least three.

    Another run of the pack may have noise that this one lacks.
    """
    augment = config.augment
    noise = (augment.white_noise_std, augment.constant_offset_std, augment.random_walk_std)
    others = (augment.static_gain_std, augment.time_warp_bins)
    return max(3, 1 + sum(value > 0 for value in (*noise, *others)))


def _training(config: DecoderConfig, size: RecordingsSize, width: int, parts: PartSizes) -> int:
    """Bytes of a forward and backward pass of one run."""
    model, B, T, F = config.model, config.data.batch_size, size.longest_bins, size.n_features
    P = max(1, n_patches(T, model.patch_size, model.patch_stride))
    bins, patches = B * T * F, P * B
    has_days = model.day_layer != "none"
    # The input in full precision; the day layer's output, its dropout and its result; the blocks.
    inputs = _FLOAT * bins + width * (4 if has_days else 2) * bins
    H = model.n_states
    if parts.widths.encoded is not None:
        kept = passing = width * 3 * patches * model.patch_size * F
    elif model.architecture == "transformer":
        inner, scores = model.n_heads * model.head_units, B * model.n_heads * P * P
        layer = patches * (6 * H + 6 * inner + 5 * model.ff_ratio * H)
        kept = model.n_layers * (width * layer + (3 * _FLOAT + 2 * width) * scores)
        kept += width * 3 * patches * model.patch_size * F
        passing = width * 4 * patches * model.ff_ratio * H + 2 * _FLOAT * scores
    else:
        # Gates and states; the dropped output with its mask. An LSTM keeps its cells too.
        per_layer = 7 if model.architecture == "gru" else 10
        per_layer += (3 if model.bidirectional else 0) + (3 if model.layer_norm else 0)
        kept, passing = width * per_layer * model.n_layers * patches * H, width * 14 * patches * H
        if model.architecture == "lstm":  # its kernels read patches that were built
            kept += width * patches * model.patch_size * F
            passing += width * patches * model.patch_size * F
    own = sum(one.kept(B, T) for one in parts.before) + sum(one.kept(B, P) for one in parts.others)
    kept += 2 * own  # what is kept, and its gradients
    kept += width * 4 * model.post_rnn_layers * patches * model.post_rnn_units
    heads = _FLOAT * (1 + len(model.inter_ctc_layers)) * patches
    heads *= 5 * size.n_classes + 2 * (2 * size.longest_target + 1)
    masks = config.augment.time_mask_probability or config.augment.feature_mask_probability
    inputs += _FLOAT * bins if masks or config.augment.speckle_rate else 0
    # The backward pass of the layers ends before that of the input begins.
    return inputs + heads + max(kept + passing, width * 5 * bins if has_days else 0)


def _kept_for_later(config: DecoderConfig, size: RecordingsSize) -> int:
    """Bytes of the host for what one run keeps of all validation trials: log-posteriors to decode
    to words, in float32, and logits, in float16 and once more as the file's content."""
    P = max(1, n_patches(size.longest_bins, config.model.patch_size, config.model.patch_stride))
    words = _FLOAT if config.evaluation.words.is_on else 0
    logits = 0 if config.train.keep_logits == "none" else 2 * _BFLOAT
    return (words + logits) * size.n_val_trials * P * size.n_classes


def _evaluation(
    config: DecoderConfig, size: RecordingsSize, B: int, width: int, parts: PartSizes
) -> int:
    """Bytes of a forward pass of one run, of which nothing is kept for a backward pass."""
    model, T, F = config.model, size.longest_bins, size.n_features
    P = max(1, n_patches(T, model.patch_size, model.patch_stride))
    patches = P * B
    total = width * 4 * B * T * F
    H = model.n_states
    # As if a module of the user's kept everything until it ends.
    total += max((one.kept(B, T) for one in parts.before), default=0)
    total += max((one.kept(B, P) for one in parts.others), default=0)
    if parts.widths.encoded is not None:
        total += width * patches * 3 * model.patch_size * F
    elif model.architecture == "transformer":
        total += width * patches * (3 * model.patch_size * F + (model.n_layers + 6) * H)
        total += width * patches * 2 * model.ff_ratio * H
        total += 4 * _FLOAT * B * model.n_heads * P * P
    else:
        total += width * (model.n_layers + (18 if model.bidirectional else 9)) * patches * H
        total += width * patches * model.patch_size * F if model.architecture == "lstm" else 0
    return total + _FLOAT * 6 * patches * size.n_classes
