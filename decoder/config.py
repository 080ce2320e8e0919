"""The configuration of one run: frozen, closed sections, loading, dotted overrides, fingerprint.

A default lives in its field and nowhere else. What else is known of a field is its marks, see
`mark`: whether it may differ between the runs of a pack, and what it means to a run's identity.
"""

import difflib
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from decoder.errors import ConfigError
from decoder.strict_yaml import load_yaml

# Raised whenever a change of the code changes the numbers a configuration leads to.
NUMERICS_VERSION = 1


def mark(
    *,
    per_run: bool = False,
    not_identity: bool = False,
    added: bool = False,
    idle_if: Mapping[str, Sequence[JsonValue]] | None = None,
    only_if: Mapping[str, Sequence[JsonValue]] | None = None,
) -> Any:
    """What is known of a field beside its type and default.

    Args:
        per_run: the runs of a pack may differ in it; any other field shapes tensors or shared
            draws, and so splits packs.
        not_identity: cannot change a result once the dataset's fingerprint is known.
        added: came after runs had been recorded; its default is what the code did before, and at
            its default it is left out of the identity, so that those runs are still found.
        idle_if: field path → values at which this field has no effect, and is left out of the
            identity. One that matches is enough.
        only_if: field path → values at which this field has an effect. One that matches is
            enough; where none does, it is idle. None of a ``_day`` field stands for the value
            of the rest of the model, here and in `idle_if`.
    """
    return Field(
        json_schema_extra={
            "per_run": per_run,
            "not_identity": not_identity,
            "added": added,
            "idle_if": {path: list(values) for path, values in (idle_if or {}).items()},
            "only_if": {path: list(values) for path, values in (only_if or {}).items()},
        }
    )


PER_RUN = mark(per_run=True)
NOT_IDENTITY = mark(not_identity=True)
ADDED = mark(added=True)
ADDED_PER_RUN = mark(per_run=True, added=True)

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A frozen group of keys; an unknown key or a value of another type is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataConfig(Section):
    """Which recordings, and how batches are drawn from them.

    Attributes:
        path: a folder in the T15 layout (``t15.YYYY.MM.DD/data_train.hdf5``) or the T12 layout
            (``train/t12.YYYY.MM.DD.mat``, ``test/``), told apart by what is there; or
            ``synthetic:NAME`` for a recipe of ``decoder.data.synthetic``, generated once.
        sessions: session names in day order; None takes every session found, sorted.
        feature_subset: indices of the features to keep, in order; None keeps all.
        sampling: ``days`` (official T15) draws a batch from some days; ``shuffle`` (official
            T12) shuffles all trials anew for every batch and takes the first, so that none is
            twice in it, and a smaller set of trials gives a smaller batch.
        batch_size: trials a batch.
        days_per_batch: days a batch is drawn from, without replacement; the trials of each
            with replacement.
    """

    path: Annotated[str, NOT_IDENTITY] = "synthetic:small"
    sessions: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    feature_subset: (
        Annotated[tuple[NonNegativeInt, ...], Field(strict=False, min_length=1)] | None
    ) = None
    sampling: Annotated[Literal["days", "shuffle"], mark(added=True)] = "days"
    batch_size: PositiveInt = 64
    days_per_batch: Annotated[PositiveInt, mark(idle_if={"data.sampling": ["shuffle"]})] = 4


_TIME_MASK = mark(per_run=True, added=True, idle_if={"augment.time_mask_probability": [0.0]})
_FEATURE_MASK = mark(per_run=True, added=True, idle_if={"augment.feature_mask_probability": [0.0]})


class AugmentConfig(Section):
    """Training-time noise, in units of the z-scored features, smoothing, warp and masks.

    Applied in the official T15 order: gain, white noise, constant offset, random walk, cut,
    smoothing. The time warp comes before, masks and speckle after. Only smoothing is applied in
    evaluation. Time warp, time masks and feature masks are those of SpecAugment (Park et al.
    2019), each mask there with a probability.

    Attributes:
        static_gain_std: std of the entries of one random matrix per trial, added to identity.
        white_noise_std: std of noise drawn per trial, bin and feature.
        constant_offset_std: std of an offset drawn per trial and feature.
        random_walk_std: std of the increments of a random walk.
        random_walk_axis: what the walk runs along; the official code's axis -1 is "features".
        random_cut: 0 to ``random_cut`` - 1 bins are cut off the front, once per batch.
        patch_mask_max_share: largest share of a trial's patches that one time mask hides, its
            length drawn from 0 on; 0 masks nothing. Masks act on the patches the layers are
            given, see `decoder.model.patch_mask` (the published transformer: 0.075).
        patch_mask_count: time masks a trial, which may overlap (the published transformer: 20).
        time_warp_bins: largest distance that a point within each trial is moved along time.
        time_mask_probability: probability of each time mask of a trial; 0 masks nothing.
        time_mask_width_bins: largest width of a time mask; it is drawn from 0 on.
        time_mask_max_count: time masks a trial, at most.
        feature_mask_probability: probability of each feature mask of a trial; 0 masks nothing.
        feature_mask_width: largest number of neighbouring features that a feature mask hides.
        feature_mask_max_count: feature masks a trial, at most.
        speckle_rate: share of the input's values set to 0, the others divided by what is left
            (coordinated dropout, Keshtkaran and Pandarinath 2019, its input half).
        smooth: whether to smooth along time.
        smooth_std_bins: standard deviation of the Gaussian, in bins.
        smooth_size_bins: bins the Gaussian is sampled on.
        smooth_taps: ``above_0.01`` drops the smaller taps (official T15: 9 of 100 are left);
            ``all`` keeps every one (official T12: 20).
        smooth_causal: whether only the bin itself and earlier ones are weighed: the Gaussian's
            half, normalised.
    """

    static_gain_std: Annotated[NonNegativeFloat, PER_RUN] = 0.0
    white_noise_std: Annotated[NonNegativeFloat, PER_RUN] = 1.0
    constant_offset_std: Annotated[NonNegativeFloat, PER_RUN] = 0.2
    random_walk_std: Annotated[NonNegativeFloat, PER_RUN] = 0.0
    random_walk_axis: Literal["features", "time"] = "features"
    random_cut: NonNegativeInt = 3
    patch_mask_max_share: Annotated[
        float, Field(ge=0.0, le=1.0), mark(per_run=True, added=True)
    ] = 0.0
    patch_mask_count: Annotated[
        PositiveInt,
        mark(per_run=True, added=True, idle_if={"augment.patch_mask_max_share": [0.0]}),
    ] = 20
    time_warp_bins: Annotated[NonNegativeInt, ADDED_PER_RUN] = 0
    time_mask_probability: Annotated[Share, ADDED_PER_RUN] = 0.0
    time_mask_width_bins: Annotated[PositiveInt, _TIME_MASK] = 40
    time_mask_max_count: Annotated[PositiveInt, _TIME_MASK] = 2
    feature_mask_probability: Annotated[Share, ADDED_PER_RUN] = 0.0
    feature_mask_width: Annotated[PositiveInt, _FEATURE_MASK] = 12
    feature_mask_max_count: Annotated[PositiveInt, _FEATURE_MASK] = 2
    speckle_rate: Annotated[Probability, ADDED_PER_RUN] = 0.0
    smooth: bool = True
    smooth_std_bins: PositiveFloat = 2.0
    smooth_size_bins: PositiveInt = 100
    smooth_taps: Annotated[
        Literal["above_0.01", "all"], mark(added=True, idle_if={"augment.smooth": [False]})
    ] = "above_0.01"
    smooth_causal: Annotated[bool, mark(added=True, idle_if={"augment.smooth": [False]})] = False


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
        n_units: width of each recurrent layer, in each direction; of the transformer.
        n_layers: recurrent or transformer layers.
        bidirectional: whether each recurrent layer also runs backward, from the batch's last
            patch, and the next one reads both (official T12); whether attention looks ahead.
        h0: one ``learned`` initial state, shared by the layers (official T15), or ``zero`` (T12).
            That of an LSTM's cell is always zero.
        day_layer: a matrix, a bias and softsign for each day, ``per_day`` (both official
            decoders), ``shared`` by all, or ``none``, with which the layers read the features.
        layer_norm: whether the output of each recurrent layer is normalised.
        post_rnn_layers: layers between the last recurrent or transformer layer and the head,
            each a linear map, layer norm, GELU and dropout.
        post_rnn_units: their width.
        blank_bias: added to the blank's initial bias, in every head.
        inter_ctc_layers: layers, counted from 1, whose output gets a head of its own, with a
            loss of weight ``loss.inter_ctc_weight`` (Lee and Watanabe 2021, "Intermediate loss
            regularization for CTC-based speech recognition").
        n_heads: attention heads.
        head_units: width of a head's queries, keys and values.
        ff_ratio: width of the feed-forward half over ``n_units``.
        position: of patches, by a learned bias of each distance (``relative``) or by adding
            sines and cosines (``sinusoidal``).
        mask_token: what the layers are given for a patch hidden by ``augment.patch_mask_*``,
            ``zero`` or a ``learned`` one.
        patch_size: bins concatenated into one decoder time step.
        patch_stride: bins from one patch to the next.
        count_last_patch: whether CTC and decoding see every patch (official T15), or one fewer,
            as in the T12 trainer, whose length is (bins - patch_size) / patch_stride without
            the + 1.
        head_init: ``xavier`` weights of the head (official T15), or ``uniform`` ones, as
            `torch.nn.Linear` draws them (T12).
        rnn_dropout: dropout rate between recurrent layers.
        input_dropout: dropout rate after the day layer; with a transformer, of its embedded
            patches.
        post_rnn_dropout: dropout rate after each of the layers before the head.
        transformer_dropout: dropout rate of attention weights and of what each half of a
            transformer layer computes.
    """

    architecture: Annotated[Literal["gru", "lstm", "transformer"], ADDED] = "gru"
    n_units: PositiveInt = 768
    n_layers: PositiveInt = 5
    bidirectional: Annotated[bool, ADDED] = False
    h0: Annotated[Literal["learned", "zero"], _RECURRENT] = "learned"
    day_layer: Annotated[Literal["per_day", "shared", "none"], ADDED] = "per_day"
    layer_norm: Annotated[bool, _RECURRENT] = False
    post_rnn_layers: Annotated[NonNegativeInt, ADDED] = 0
    post_rnn_units: Annotated[PositiveInt, mark(added=True, idle_if=_NO_POST_RNN)] = 256
    blank_bias: Annotated[float, mark(per_run=True, added=True)] = 0.0
    inter_ctc_layers: Annotated[tuple[PositiveInt, ...], Field(strict=False), ADDED] = ()
    n_heads: Annotated[PositiveInt, _TRANSFORMER] = 6
    head_units: Annotated[PositiveInt, _TRANSFORMER] = 64
    ff_ratio: Annotated[PositiveInt, _TRANSFORMER] = 4
    position: Annotated[Literal["relative", "sinusoidal"], _TRANSFORMER] = "relative"
    mask_token: Annotated[
        Literal["zero", "learned"],
        mark(added=True, idle_if={"augment.patch_mask_max_share": [0.0]}),
    ] = "zero"
    patch_size: PositiveInt = 14
    patch_stride: PositiveInt = 4
    count_last_patch: Annotated[bool, ADDED] = True
    head_init: Annotated[Literal["xavier", "uniform"], ADDED] = "xavier"
    rnn_dropout: Annotated[
        Probability, mark(per_run=True, idle_if={"model.architecture": ["transformer"]})
    ] = 0.4
    input_dropout: Annotated[Probability, PER_RUN] = 0.2
    post_rnn_dropout: Annotated[
        Probability, mark(per_run=True, added=True, idle_if=_NO_POST_RNN)
    ] = 0.0
    transformer_dropout: Annotated[
        Probability,
        mark(per_run=True, added=True, only_if={"model.architecture": ["transformer"]}),
    ] = 0.35


class LossConfig(Section):
    """CTC loss, and what is made of it in training; ``val_loss`` is always plain CTC.

    Attributes:
        ctc_reduction: ``none_then_mean`` sums a trial's loss and averages over the batch
            (official T15); ``mean`` divides each trial's loss by its target length first.
        zero_infinity: whether trials without a CTC alignment (target longer than the output) are
            kept with a training loss of zero, and count in the validation PER (official T12);
            or left out, and refused where they are more than 1 % (False).
        label_smoothing: share of the loss that is KL(posterior ‖ uniform), summed over the
            patches of a trial (Kim et al. 2018); the rest is CTC.
        focal_gamma: each trial's CTC is multiplied by (1 - p) ** gamma, where p is the posterior
            of its target, taken a label (Feng et al. 2019, see `decoder.objective`).
        label_prior_weight: CTC is of log posteriors minus this times the logarithm of the run's
            own mean posterior of late (Huang et al. 2024, "Less peaky and more accurate CTC
            forced alignment by label priors"); the last head's alone.
        inter_ctc_weight: share of the loss that is the mean over the intermediate heads, see
            ``model.inter_ctc_layers``; the rest is the last head's.
    """

    ctc_reduction: Annotated[Literal["none_then_mean", "mean"], PER_RUN] = "none_then_mean"
    zero_infinity: bool = False
    label_smoothing: Annotated[Probability, ADDED_PER_RUN] = 0.0
    focal_gamma: Annotated[NonNegativeFloat, ADDED_PER_RUN] = 0.0
    label_prior_weight: Annotated[NonNegativeFloat, ADDED_PER_RUN] = 0.0
    inter_ctc_weight: Annotated[
        Probability,
        mark(per_run=True, added=True, idle_if={"model.inter_ctc_layers": [[]]}),
    ] = 0.3


Schedule = Literal["warmup_cosine", "constant", "linear", "one_cycle", "step", "plateau"]
_TO_LR_MIN = ("warmup_cosine", "linear", "one_cycle", "plateau")
_FOR_DECAY_STEPS = ("warmup_cosine", "linear", "one_cycle")
_ADAM = mark(per_run=True, idle_if={"optim.algorithm": ["sgd"]})
_SGD = mark(per_run=True, added=True, only_if={"optim.algorithm": ["sgd"]})


_NO_DAYS = {"model.day_layer": ["none"]}
_DAYS = mark(per_run=True, idle_if=_NO_DAYS)


def _scheduled(path: str, schedules: Sequence[str]) -> Any:
    """The mark of a field that only some schedules follow."""
    idle_if = _NO_DAYS if path.endswith("_day") else None
    return mark(per_run=True, idle_if=idle_if, only_if={path: schedules})


def _of_schedule(schedule: str) -> Any:
    """The mark of a field that one schedule follows, be it that of the day layers alone."""
    followed_by = {"optim.schedule": [schedule], "optim.schedule_day": [schedule]}
    return mark(per_run=True, added=True, only_if=followed_by)


class OptimConfig(Section):
    """Optimizer, the two learning rate schedules, clipping, averaging of weights.

    The day layers follow the ``_day`` values; None there means "as the rest of the model".

    Attributes:
        algorithm: ``adamw`` (decoupled decay), ``adam`` (decay added to the gradient, L2) or
            ``sgd`` (the same L2); each as in `torch.optim`.
        momentum: of ``sgd``; ``nesterov`` looks ahead along it.
        schedule: what the learning rate follows after a linear warm-up, see `decoder.schedules`:
            ``warmup_cosine`` (official T15), ``linear`` (official T12), ``constant``, ``step``,
            ``plateau``, or ``one_cycle``, which has a warm-up of its own kind.
        lr_max: learning rate at the end of warm-up.
        lr_min: learning rate from ``lr_decay_steps`` on; the lowest that ``plateau`` goes to.
        lr_warmup_steps: steps of linear warm-up; the first step has learning rate 0.
        lr_decay_steps: step at which the decay ends; None means ``train.n_steps``.
        one_cycle_start_ratio: share of the largest learning rate that ``one_cycle`` starts at;
            one over ``div_factor`` of `torch.optim.lr_scheduler.OneCycleLR`.
        step_every_steps: ``step`` multiplies the learning rate by ``step_factor`` after every so
            many steps from the end of warm-up.
        plateau_factor: ``plateau`` multiplies the learning rate by this after more than
            ``plateau_patience`` evaluations in a row without a better validation PER.
        weight_decay: decay of weights; ``weight_decay_day`` that of the day layers,
            ``weight_decay_bias`` that of the biases of recurrent layers and head. The official
            T15 trainer decays weights alone, the official T12 trainer all three alike.
        update_absent_days: whether the day layers of days that are not in the batch are updated
            as with a gradient of zero, that is by decay and momentum, as in the official T12
            trainer; or left alone, as in the official T15 trainer.
        grad_clip: largest gradient norm over all parameters of a run; None clips nothing.
        on_non_finite: what a loss or gradient that is not finite does: ``end`` freezes the run
            before the bad update and calls it diverged; ``skip`` leaves that update out, counts
            it, and calls the run diverged after `decoder.state.MAX_SKIPPED_IN_A_ROW` in a row.
        ema_decay: evaluation uses the moving average of the weights with this decay
            (`torch.optim.swa_utils`, started from the weights after the first step); 0 uses the
            weights themselves.
        accumulation_steps: batches a step; their gradients are averaged.
    """

    algorithm: Annotated[Literal["adamw", "adam", "sgd"], PER_RUN] = "adamw"
    momentum: Annotated[Probability, _SGD] = 0.9
    nesterov: Annotated[bool, _SGD] = False
    schedule: Annotated[Schedule, mark(per_run=True, added=True)] = "warmup_cosine"
    schedule_day: Annotated[Schedule | None, mark(per_run=True, added=True, idle_if=_NO_DAYS)] = (
        None
    )
    lr_max: Annotated[PositiveFloat, PER_RUN] = 0.005
    lr_min: Annotated[NonNegativeFloat, _scheduled("optim.schedule", _TO_LR_MIN)] = 0.0001
    lr_warmup_steps: Annotated[NonNegativeInt, PER_RUN] = 1000
    lr_decay_steps: Annotated[
        PositiveInt | None, _scheduled("optim.schedule", _FOR_DECAY_STEPS)
    ] = None
    lr_max_day: Annotated[PositiveFloat | None, _DAYS] = None
    lr_min_day: Annotated[NonNegativeFloat | None, _scheduled("optim.schedule_day", _TO_LR_MIN)] = (
        None
    )
    lr_warmup_steps_day: Annotated[NonNegativeInt | None, _DAYS] = None
    lr_decay_steps_day: Annotated[
        PositiveInt | None, _scheduled("optim.schedule_day", _FOR_DECAY_STEPS)
    ] = None
    one_cycle_start_ratio: Annotated[float, Field(gt=0.0, le=1.0), _of_schedule("one_cycle")] = 0.04
    step_every_steps: Annotated[PositiveInt, _of_schedule("step")] = 10_000
    step_factor: Annotated[float, Field(gt=0.0, le=1.0), _of_schedule("step")] = 0.1
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0), _of_schedule("plateau")] = 0.1
    plateau_patience: Annotated[NonNegativeInt, _of_schedule("plateau")] = 10
    beta1: Annotated[Probability, _ADAM] = 0.9
    beta2: Annotated[Probability, _ADAM] = 0.999
    epsilon: Annotated[PositiveFloat, _ADAM] = 0.1
    weight_decay: Annotated[NonNegativeFloat, PER_RUN] = 0.001
    weight_decay_day: Annotated[NonNegativeFloat, _DAYS] = 0.0
    weight_decay_bias: Annotated[NonNegativeFloat, mark(per_run=True, added=True)] = 0.0
    update_absent_days: Annotated[
        bool, mark(per_run=True, added=True, idle_if={"model.day_layer": ["shared", "none"]})
    ] = False
    grad_clip: Annotated[PositiveFloat | None, PER_RUN] = 10.0
    on_non_finite: Annotated[Literal["end", "skip"], mark(per_run=True, added=True)] = "end"
    ema_decay: Annotated[Probability, mark(per_run=True, added=True)] = 0.0
    accumulation_steps: Annotated[PositiveInt, mark(added=True)] = 1


class TrainConfig(Section):
    """Budget, evaluation rhythm and number format.

    Attributes:
        n_steps: optimizer steps.
        eval_every_steps: validation after every so many steps, and after the last one.
        precision: ``float32``, or ``bfloat16`` autocast of the matrix products.
        keep_weights: which weights of a run are kept as a file, see `decoder.weights`: ``final``,
            or ``best`` by validation PER, ties by loss. A run recorded before without them is
            not trained again for their sake.
    """

    n_steps: Annotated[PositiveInt, PER_RUN] = 120_000
    eval_every_steps: PositiveInt = 2000
    precision: Literal["float32", "bfloat16"] = "float32"
    keep_weights: Annotated[
        Literal["none", "final", "best"], mark(per_run=True, not_identity=True, added=True)
    ] = "none"


class EvaluationConfig(Section):
    """What a run's last evaluation does beside greedy decoding, which every one does.

    Attributes:
        use_beam_search: whether a prefix beam search decodes too; its figures stand beside those
            of greedy decoding, never in their place.
        beam_width: prefixes kept after each patch.
    """

    use_beam_search: Annotated[bool, mark(per_run=True, added=True)] = False
    beam_width: Annotated[
        PositiveInt,
        mark(per_run=True, added=True, only_if={"evaluation.use_beam_search": [True]}),
    ] = 16


class DecoderConfig(Section):
    """Everything that decides the result of a run, but for its seed and its recordings."""

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _check_combinations(self) -> "DecoderConfig":
        if self.data.sampling == "days" and self.data.days_per_batch > self.data.batch_size:
            raise ValueError(
                f"data.days_per_batch ({self.data.days_per_batch}) must not exceed "
                f"data.batch_size ({self.data.batch_size})"
            )
        if self.loss.focal_gamma and self.loss.label_prior_weight:
            raise ValueError(
                "loss.focal_gamma weighs trials by their posterior, which the loss does not have "
                "with loss.label_prior_weight; set one of them to 0"
            )
        layers = self.model.inter_ctc_layers
        if layers and not (
            sorted(set(layers)) == list(layers) and layers[-1] < self.model.n_layers
        ):
            raise ValueError(
                f"model.inter_ctc_layers ({list(layers)}) must ascend and stay below "
                f"model.n_layers ({self.model.n_layers}), whose output the last head reads"
            )
        if self.optim.algorithm == "sgd" and self.optim.nesterov and not self.optim.momentum:
            raise ValueError(
                "optim.nesterov looks ahead along the momentum, and optim.momentum is 0; set "
                "optim.momentum above 0, or optim.nesterov to false"
            )
        schedules = {
            "": self.optim.schedule,
            "_day": self.optim.schedule_day or self.optim.schedule,
        }
        for day, schedule in schedules.items():
            low, high = getattr(self.optim, f"lr_min{day}"), getattr(self.optim, f"lr_max{day}")
            if schedule in _TO_LR_MIN and low is not None and high is not None and low > high:
                raise ValueError(
                    f"optim.lr_min{day} ({low}) must not exceed optim.lr_max{day} ({high})"
                )
        return self


class Marks(NamedTuple):
    """The marks of a field, see `mark`, and its default as a plain JSON value."""

    per_run: bool
    not_identity: bool
    added: bool
    idle_if: Mapping[str, Sequence[JsonValue]]
    only_if: Mapping[str, Sequence[JsonValue]]
    default: JsonValue


@functools.cache
def config_paths() -> Mapping[str, Marks]:
    """Every dotted field path, with its marks."""
    defaults = flatten(DecoderConfig())
    paths = {}
    for section_name, section in DecoderConfig.model_fields.items():
        section_type = section.annotation
        assert isinstance(section_type, type) and issubclass(section_type, Section)
        for name, field in section_type.model_fields.items():
            path = f"{section_name}.{name}"
            extra = field.json_schema_extra
            known: dict[str, Any] = dict(extra) if isinstance(extra, dict) else {}
            paths[path] = Marks(
                per_run=known.get("per_run", False),
                not_identity=known.get("not_identity", False),
                added=known.get("added", False),
                idle_if=known.get("idle_if", {}),
                only_if=known.get("only_if", {}),
                default=defaults[path],
            )
    return paths


def flatten(config: DecoderConfig) -> dict[str, Any]:
    """The configuration as ``{"section.field": value}`` with plain JSON values."""
    nested = config.model_dump(mode="json")
    return {f"{s}.{name}": value for s, fields in nested.items() for name, value in fields.items()}


def unflatten(flat: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The inverse of `flatten`, without validation."""
    nested: dict[str, dict[str, Any]] = {}
    for path, value in flat.items():
        section, _, name = path.partition(".")
        nested.setdefault(section, {})[name] = value
    return nested


def parse_config(nested: Mapping[str, Any], where: str) -> DecoderConfig:
    """Validate a nested mapping of sections.

    Args:
        nested: ``{section: {field: value}}``; absent fields take their defaults.
        where: named at the front of every complaint, usually a file.

    Raises:
        ConfigError: every unknown key, wrong type and impossible value found, at once.
    """
    try:
        return DecoderConfig.model_validate(dict(nested))
    except ValidationError as error:
        raise ConfigError([f"{where}: {text}" for text in explain(error, config_keys())]) from None


def load_config(path: Path) -> DecoderConfig:
    """Read a decoder configuration from a YAML file (see `parse_config`)."""
    return parse_config(load_yaml(path), str(path))


def override(config: DecoderConfig, changes: Mapping[str, Any], where: str) -> DecoderConfig:
    """A copy of `config` with dotted paths set to new values, validated as a whole.

    Raises:
        ConfigError: a path that is no field (the nearest name is offered), or a bad value.
    """
    known = config_paths()
    unknown = [
        f"{where}: '{path}' is no config field{did_you_mean(path, known)}"
        for path in changes
        if path not in known
    ]
    if unknown:
        raise ConfigError(unknown)
    return parse_config(unflatten({**flatten(config), **changes}), where)


def resolve(config: DecoderConfig) -> DecoderConfig:
    """Fill in every value that is given by another field, so that equal runs look equal."""
    optim, n_steps = config.optim, config.train.n_steps
    decay_steps = optim.lr_decay_steps if optim.lr_decay_steps is not None else n_steps
    filled = {
        "lr_decay_steps": decay_steps,
        # Added later, so a value that says nothing new is not written out, or ids would change.
        "schedule_day": None if optim.schedule_day == optim.schedule else optim.schedule_day,
        "lr_max_day": optim.lr_max if optim.lr_max_day is None else optim.lr_max_day,
        "lr_min_day": optim.lr_min if optim.lr_min_day is None else optim.lr_min_day,
        "lr_warmup_steps_day": (
            optim.lr_warmup_steps
            if optim.lr_warmup_steps_day is None
            else optim.lr_warmup_steps_day
        ),
        "lr_decay_steps_day": (
            decay_steps if optim.lr_decay_steps_day is None else optim.lr_decay_steps_day
        ),
    }
    return config.model_copy(update={"optim": optim.model_copy(update=filled)})


def run_id(config: DecoderConfig, seed: int, dataset_fingerprint: str, replicate: int = 0) -> str:
    """The identity of a run: 16 hex digits over everything that can change its result.

    Args:
        config: resolved or not; both give the same.
        seed: the run's seed.
        dataset_fingerprint: of the packed recordings.
        replicate: 0, or the number of a repetition that is to be trained again although nothing
            differs, to see what the machine alone changes.
    """
    whole: dict[str, Any] = {
        "config": identity(config),
        "seed": seed,
        "dataset": dataset_fingerprint,
        "numerics_version": NUMERICS_VERSION,
    }
    if replicate:
        whole["replicate"] = replicate
    return _digest(whole)


def pack_key(config: DecoderConfig) -> str:
    """Equal for configurations whose runs can share one pack: same tensors, same draws."""
    paths = config_paths()
    return _digest({p: value for p, value in flatten(config).items() if not paths[p].per_run})


def identity(config: DecoderConfig) -> dict[str, Any]:
    """The fields of a configuration that can change a result, resolved: path → plain value.

    Two configurations with the same identity train to the same weights.
    """
    flat, paths = flatten(resolve(config)), config_paths()
    kept = {
        path: value
        for path, value in flat.items()
        if not (marks := paths[path]).not_identity and not (marks.added and value == marks.default)
    }
    idle = [path for path in _conditional_paths() if path in kept and _is_idle(paths[path], flat)]
    return {path: value for path, value in kept.items() if path not in idle}


@functools.cache
def _conditional_paths() -> tuple[str, ...]:
    """The fields that other ones may leave without effect."""
    return tuple(path for path, m in config_paths().items() if m.idle_if or m.only_if)


def idle_paths(config: DecoderConfig) -> set[str]:
    """The fields that have no effect beside the values of the others, by their marks."""
    flat = flatten(resolve(config))
    return {path for path in _conditional_paths() if _is_idle(config_paths()[path], flat)}


def _is_idle(marks: Marks, flat: Mapping[str, Any]) -> bool:
    """Whether a field has no effect beside the values of the others, resolved and flat."""

    def is_any(conditions: Mapping[str, Sequence[JsonValue]]) -> bool:
        return any(
            (flat[path.removesuffix("_day")] if flat[path] is None else flat[path]) in values
            for path, values in conditions.items()
        )

    if marks.idle_if and is_any(marks.idle_if):
        return True
    return bool(marks.only_if) and not is_any(marks.only_if)


def did_you_mean(got: str, known: Any) -> str:
    """``; did you mean 'x'?`` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(got, [str(name) for name in known], n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def config_keys() -> dict[tuple[str, ...], list[str]]:
    """The names allowed at each level of a decoder configuration, for `explain`."""
    keys: dict[tuple[str, ...], list[str]] = {(): list(DecoderConfig.model_fields)}
    for path in config_paths():
        section, _, name = path.partition(".")
        keys.setdefault((section,), []).append(name)
    return keys


def explain(error: ValidationError, keys: Mapping[tuple[str, ...], list[str]]) -> list[str]:
    """One sentence per complaint of pydantic: key path, what was got, what is allowed.

    Args:
        error: the validation error.
        keys: the allowed names at each location, to offer the nearest one.
    """
    sentences = []
    for item in error.errors():
        location = tuple(str(part) for part in item["loc"])
        path = ".".join(location) or "top level"
        got = item["input"]
        if item["type"] == "extra_forbidden":
            allowed = keys.get(location[:-1], [])
            hint = did_you_mean(location[-1], allowed)
            listing = f" (allowed here: {', '.join(allowed)})" if allowed and not hint else ""
            sentences.append(f"{path}: unknown key '{location[-1]}'{hint}{listing}")
            continue
        if item["type"] == "missing":
            sentences.append(f"{path}: this key is required, but missing; add it")
            continue
        if item["type"] == "value_error":
            sentences.append(f"{path}: {item['ctx']['error']}")
            continue
        sentence = f"{path}: {item['msg'].replace('Input should be', 'must be')}, but got {got!r}"
        if isinstance(got, str) and item["type"] in ("float_type", "int_type", "bool_type"):
            sentence += "; it is quoted text: remove the quotes" if _is_number(got) else ""
        sentences.append(sentence)
    return sentences


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
