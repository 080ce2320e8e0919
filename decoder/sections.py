"""The sections of a configuration that describe the input and the model: data, augment, model."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from decoder.marks import (
    ADDED,
    ADDED_PER_RUN,
    NOT_IDENTITY,
    PER_RUN,
    Bins,
    Count,
    NonNegativeReal,
    PositiveBins,
    PositiveCount,
    PositiveReal,
    Probability,
    Real,
    Section,
    Share,
    Width,
    mark,
)


def _by_name(names: tuple[str, ...]) -> tuple[str, ...]:
    """Each name once and in one order, so that equal runs have equal identities."""
    return tuple(sorted(set(names)))


_TakenShare = Annotated[float, Field(gt=0.0, le=1.0)]
_PER_DAY_ONLY = {"model.day_layer": ["shared", "none"]}


class DataConfig(Section):
    """Which recordings to use, and how to draw batches from them.

    Attributes:
        path: a folder in the T15 layout (``t15.YYYY.MM.DD/data_train.hdf5``) or the T12 layout
            (``train/t12.YYYY.MM.DD.mat``, ``test/``), recognised by its content; or
            ``synthetic:NAME`` for a recipe of ``decoder.data.synthetic``, generated once.
        sessions: session names in day order; None takes every session found, sorted.
        feature_subset: indices of the features to keep, in order; None keeps all.
        sampling: ``days`` (official T15) draws a batch from some days; ``shuffle`` (official
            T12) shuffles all trials for every batch and takes the first ones, so that no trial is
            twice in a batch. If there are fewer trials than ``batch_size``, the batch is smaller.
        batch_size: trials in a batch.
        days_per_batch: days that a batch is drawn from. Days are drawn without replacement, the
            trials of a day with replacement.
        held_out_sessions: sessions that train nothing, by name, or the number of last sessions.
            Their validation trials count in ``per_held_out`` and in no other metric.
        train_sessions_share: share of the other sessions to train on, rounded up. The seed decides
            which; a smaller share takes some of the sessions of a larger one. Their validation
            trials count in ``per`` whether they are trained on or not.
        train_share: share of each session's training trials to train on, rounded up, drawn alike.
        untrained_day_layer: the day layer by which sessions that train nothing are evaluated: that
            of the ``nearest`` trained session by date, the ``mean`` of all trained ones, or the
            ``identity`` that a day layer starts from.
    """

    path: Annotated[str, NOT_IDENTITY] = "synthetic:small"
    sessions: (
        Annotated[tuple[str, ...], Field(strict=False, min_length=1, max_length=10_000)] | None
    ) = None
    feature_subset: (
        Annotated[
            tuple[Annotated[int, Field(ge=0, lt=2**16)], ...],
            Field(strict=False, min_length=1, max_length=2**16),
        ]
        | None
    ) = None
    sampling: Annotated[Literal["days", "shuffle"], mark(added=True)] = "days"
    batch_size: Width = 64
    days_per_batch: Annotated[Width, mark(idle_if={"data.sampling": ["shuffle"]})] = 4
    held_out_sessions: Annotated[
        Annotated[int, Field(ge=1, le=10_000)]
        | Annotated[
            tuple[str, ...],
            Field(strict=False, min_length=1, max_length=10_000),
            AfterValidator(_by_name),
        ]
        | None,
        ADDED,
    ] = None
    train_sessions_share: Annotated[_TakenShare, ADDED] = 1.0
    train_share: Annotated[_TakenShare, ADDED] = 1.0
    untrained_day_layer: Annotated[
        Literal["nearest", "mean", "identity"],
        mark(per_run=True, added=True, idle_if=_PER_DAY_ONLY),
    ] = "nearest"

    @property
    def leaves_sessions_out(self) -> bool:
        """Whether some sessions train nothing."""
        return self.held_out_sessions is not None or self.train_sessions_share < 1.0


_NOT_SMOOTHED = {"augment.smooth": [False]}
_TIME_MASK = mark(per_run=True, added=True, idle_if={"augment.time_mask_probability": [0.0]})
_FEATURE_MASK = mark(per_run=True, added=True, idle_if={"augment.feature_mask_probability": [0.0]})


class AugmentConfig(Section):
    """Training-time noise, in units of the z-scored features, smoothing, warp and masks.

    The order is that of the official T15 trainer: gain, white noise, constant offset, random walk,
    cut, smoothing. The time warp comes before, masks and speckle after. Evaluation only smooths.
    Time warp, time masks and feature masks are those of SpecAugment (Park et al. 2019), except
    that each mask is applied with a probability.

    Attributes:
        static_gain_std: std of the entries of one random matrix per trial, added to identity.
        white_noise_std: std of noise drawn per trial, bin and feature.
        constant_offset_std: std of an offset drawn per trial and feature.
        random_walk_std: std of the increments of a random walk.
        random_walk_axis: the axis of the walk; the official code's axis -1 is "features".
        random_cut: 0 to ``random_cut`` - 1 bins are cut off the front, drawn once per batch.
        patch_mask_max_share: largest fraction of a trial's patches that one time mask hides; the
            length is drawn from 0 up to it, and 0 masks nothing. These masks act on the patches
            that the layers read, see `decoder.model.patch_mask` (published transformer: 0.075).
        patch_mask_count: time masks per trial, which may overlap (published transformer: 20).
        time_warp_bins: largest distance by which a point within each trial moves along time.
        time_mask_probability: probability of each time mask of a trial; 0 masks nothing.
        time_mask_width_bins: largest width of a time mask; the width is drawn from 0 up to it.
        time_mask_max_count: largest number of time masks per trial.
        feature_mask_probability: probability of each feature mask of a trial; 0 masks nothing.
        feature_mask_width: largest number of neighbouring features that a feature mask hides.
        feature_mask_max_count: largest number of feature masks per trial.
        speckle_rate: fraction of the input's values that are set to 0; the others are divided by
            1 - rate (the input half of coordinated dropout, Keshtkaran and Pandarinath 2019).
        smooth: whether to smooth along time.
        smooth_std_bins: standard deviation of the Gaussian, in bins.
        smooth_size_bins: number of bins on which the Gaussian is sampled.
        smooth_taps: ``above_0.01`` drops smaller taps (official T15: 9 of 100 are left); ``all``
            keeps every tap (official T12: 20).
        smooth_causal: whether to weight only the bin itself and earlier ones, with a normalised
            half of the Gaussian.
    """

    static_gain_std: Annotated[NonNegativeReal, PER_RUN] = 0.0
    white_noise_std: Annotated[NonNegativeReal, PER_RUN] = 1.0
    constant_offset_std: Annotated[NonNegativeReal, PER_RUN] = 0.2
    random_walk_std: Annotated[NonNegativeReal, PER_RUN] = 0.0
    random_walk_axis: Literal["features", "time"] = "features"
    random_cut: Bins = 3
    patch_mask_max_share: Annotated[
        float, Field(ge=0.0, le=1.0), mark(per_run=True, added=True)
    ] = 0.0
    patch_mask_count: Annotated[
        PositiveCount,
        mark(per_run=True, added=True, idle_if={"augment.patch_mask_max_share": [0.0]}),
    ] = 20
    time_warp_bins: Annotated[Bins, ADDED_PER_RUN] = 0
    time_mask_probability: Annotated[Share, ADDED_PER_RUN] = 0.0
    time_mask_width_bins: Annotated[PositiveBins, _TIME_MASK] = 40
    time_mask_max_count: Annotated[PositiveCount, _TIME_MASK] = 2
    feature_mask_probability: Annotated[Share, ADDED_PER_RUN] = 0.0
    feature_mask_width: Annotated[Width, _FEATURE_MASK] = 12
    feature_mask_max_count: Annotated[PositiveCount, _FEATURE_MASK] = 2
    speckle_rate: Annotated[Probability, ADDED_PER_RUN] = 0.0
    smooth: bool = True
    smooth_std_bins: Annotated[PositiveReal, mark(idle_if=_NOT_SMOOTHED)] = 2.0
    smooth_size_bins: Annotated[PositiveBins, mark(idle_if=_NOT_SMOOTHED)] = 100
    smooth_taps: Annotated[
        Literal["above_0.01", "all"], mark(added=True, idle_if=_NOT_SMOOTHED)
    ] = "above_0.01"
    smooth_causal: Annotated[bool, mark(added=True, idle_if=_NOT_SMOOTHED)] = False


_RECURRENT = mark(added=True, idle_if={"model.architecture": ["transformer"]})
_TRANSFORMER = mark(added=True, only_if={"model.architecture": ["transformer"]})
_NO_POST_RNN = {"model.post_rnn_layers": [0]}


class ModelConfig(Section):
    """The decoder: day layer, patches, recurrent or transformer layers, linear head.

    The transformer is that of Feghhi et al. 2025 (transformers_with_dietcorp), whose own values
    are ``n_units: 384``, ``n_layers: 5``, ``patch_size: 5``, ``patch_stride: 5``,
    ``day_layer: none``, ``head_init: uniform``, ``mask_token: learned`` and the defaults here.

    Attributes:
        architecture: kind of the layers.
        n_units: width of each recurrent layer in each direction, or of the transformer.
        n_layers: recurrent or transformer layers.
        bidirectional: whether each recurrent layer also runs backward, from the batch's last
            patch, and the next layer reads both directions (official T12); or whether attention
            looks ahead.
        h0: one ``learned`` initial state, shared by the layers (official T15), or ``zero`` (T12).
            The initial cell state of an LSTM is always zero.
        day_layer: a matrix, a bias and softsign: one for each day with ``per_day`` (both official
            decoders), one for all with ``shared``; with ``none`` the layers read the features.
        layer_norm: whether to normalise the output of each recurrent layer.
        post_rnn_layers: layers between the last recurrent or transformer layer and the head,
            each a linear map, layer norm, GELU and dropout.
        post_rnn_units: width of these layers.
        blank_bias: added to the blank's initial bias, in every head.
        inter_ctc_layers: layers, counted from 1, whose output gets its own head, with a loss of
            weight ``loss.inter_ctc_weight`` (Lee and Watanabe 2021, "Intermediate loss
            regularization for CTC-based speech recognition").
        n_heads: attention heads.
        head_units: width of a head's queries, keys and values.
        ff_ratio: width of the feed-forward half over ``n_units``.
        position: how attention knows the position of patches: by a learned bias for each distance
            (``relative``), or by sines and cosines added to the patches (``sinusoidal``).
        mask_token: the value of patches hidden by ``augment.patch_mask_*``: ``zero`` or
            ``learned``.
        patch_size: bins concatenated into one decoder time step.
        patch_stride: bins from one patch to the next.
        count_last_patch: whether CTC and decoding use every patch (official T15) or one fewer, as
            in the T12 trainer, whose length is (bins - patch_size) / patch_stride without + 1.
        head_init: initial weights of the head: ``xavier`` (official T15), or ``uniform`` as in
            `torch.nn.Linear` (T12).
        rnn_dropout: dropout rate between recurrent layers.
        input_dropout: dropout rate after the day layer; with a transformer, after the embedding.
        post_rnn_dropout: dropout rate after each of the ``post_rnn_layers``.
        transformer_dropout: dropout rate of attention weights and of the output of each half of a
            transformer layer.
    """

    architecture: Annotated[Literal["gru", "lstm", "transformer"], ADDED] = "gru"
    n_units: Width = 768
    n_layers: PositiveCount = 5
    bidirectional: Annotated[bool, ADDED] = False
    h0: Annotated[Literal["learned", "zero"], _RECURRENT] = "learned"
    day_layer: Annotated[Literal["per_day", "shared", "none"], ADDED] = "per_day"
    layer_norm: Annotated[bool, _RECURRENT] = False
    post_rnn_layers: Annotated[Count, ADDED] = 0
    post_rnn_units: Annotated[Width, mark(added=True, idle_if=_NO_POST_RNN)] = 256
    blank_bias: Annotated[Real, mark(per_run=True, added=True)] = 0.0
    inter_ctc_layers: Annotated[
        tuple[PositiveCount, ...], Field(strict=False, max_length=1000), ADDED
    ] = ()
    n_heads: Annotated[PositiveCount, _TRANSFORMER] = 6
    head_units: Annotated[Width, _TRANSFORMER] = 64
    ff_ratio: Annotated[PositiveCount, _TRANSFORMER] = 4
    position: Annotated[Literal["relative", "sinusoidal"], _TRANSFORMER] = "relative"
    mask_token: Annotated[
        Literal["zero", "learned"],
        mark(added=True, idle_if={"augment.patch_mask_max_share": [0.0]}),
    ] = "zero"
    patch_size: PositiveBins = 14
    patch_stride: PositiveBins = 4
    count_last_patch: Annotated[bool, ADDED] = True
    head_init: Annotated[Literal["xavier", "uniform"], ADDED] = "xavier"
    rnn_dropout: Annotated[
        Probability,
        mark(
            per_run=True,
            idle_if={"model.architecture": ["transformer"], "model.n_layers": [1]},
        ),
    ] = 0.4
    input_dropout: Annotated[Probability, PER_RUN] = 0.2
    post_rnn_dropout: Annotated[
        Probability, mark(per_run=True, added=True, idle_if=_NO_POST_RNN)
    ] = 0.0
    transformer_dropout: Annotated[
        Probability,
        mark(per_run=True, added=True, only_if={"model.architecture": ["transformer"]}),
    ] = 0.35

    @property
    def n_states(self) -> int:
        """Width of the output of the last recurrent or transformer layer."""
        both = self.bidirectional and self.architecture != "transformer"
        return self.n_units * (1 + both)
