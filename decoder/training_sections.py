"""The sections of a configuration for training and evaluation: loss, optim, train, evaluation."""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from decoder.marks import (
    ADDED_PER_RUN,
    PER_RUN,
    Count,
    NonNegativeReal,
    PositiveReal,
    PositiveSteps,
    Probability,
    Section,
    Steps,
    Width,
    mark,
)


class LossConfig(Section):
    """The training loss; ``val_loss`` is always plain CTC.

    Attributes:
        ctc_reduction: ``none_then_mean`` sums a trial's loss and averages over the batch
            (official T15); ``mean`` divides each trial's loss by its target length first.
        zero_infinity: whether trials without a CTC alignment (target longer than the output) are
            kept with a training loss of zero and count in the validation PER (official T12). If
            false, they are left out, and more than 1 % of them is an error.
        label_smoothing: weight of KL(posterior ‖ uniform), summed over the patches of a trial
            (Kim et al. 2018); CTC has the weight 1 - label_smoothing.
        focal_gamma: each trial's CTC is multiplied by (1 - p) ** gamma, where p is the posterior
            of its target per label (Feng et al. 2019, see `decoder.objective`).
        label_prior_weight: CTC uses log posteriors minus this weight times the log of the run's
            own moving-average posterior (Huang et al. 2024, "Less peaky and more accurate CTC
            forced alignment by label priors"); only in the last head.
        inter_ctc_weight: weight of the mean loss over the intermediate heads, see
            ``model.inter_ctc_layers``; the last head has the weight 1 - inter_ctc_weight.
    """

    ctc_reduction: Annotated[Literal["none_then_mean", "mean"], PER_RUN] = "none_then_mean"
    zero_infinity: bool = False
    label_smoothing: Annotated[Probability, ADDED_PER_RUN] = 0.0
    focal_gamma: Annotated[NonNegativeReal, ADDED_PER_RUN] = 0.0
    label_prior_weight: Annotated[NonNegativeReal, ADDED_PER_RUN] = 0.0
    inter_ctc_weight: Annotated[
        Probability,
        mark(per_run=True, added=True, idle_if={"model.inter_ctc_layers": [[]]}),
    ] = 0.3


ModelPart = Literal["day", "layers", "head"]
MODEL_PARTS: tuple[ModelPart, ...] = ("day", "layers", "head")


def _in_order(parts: tuple[ModelPart, ...]) -> tuple[ModelPart, ...]:
    """Each part once and in one order, so that equal runs have equal identities."""
    return tuple(part for part in MODEL_PARTS if part in parts)


Schedule = Literal["warmup_cosine", "constant", "linear", "one_cycle", "step", "plateau"]
TO_LR_MIN = ("warmup_cosine", "linear", "one_cycle", "plateau")
_FOR_DECAY_STEPS = ("warmup_cosine", "linear", "one_cycle")
_ADAM = mark(per_run=True, idle_if={"optim.algorithm": ["sgd"]})
_SGD = mark(per_run=True, added=True, only_if={"optim.algorithm": ["sgd"]})
_NO_DAYS = {"model.day_layer": ["none"]}
_DAYS = mark(per_run=True, idle_if=_NO_DAYS)


def _scheduled(path: str, schedules: Sequence[str]) -> Any:
    """The mark of a field that only some schedules use."""
    idle_if = _NO_DAYS if path.endswith("_day") else None
    return mark(per_run=True, idle_if=idle_if, only_if={path: schedules})


def _of_schedule(schedule: str) -> Any:
    """The mark of a field that only this schedule uses, for the day layers or for the others."""
    used_by = {"optim.schedule": [schedule], "optim.schedule_day": [schedule]}
    return mark(per_run=True, added=True, only_if=used_by)


class OptimConfig(Section):
    """Optimizer, the two learning rate schedules, clipping, averaging of weights.

    The day layers use the ``_day`` values; None there means the value of the rest of the model.

    Attributes:
        algorithm: ``adamw`` (decoupled decay), ``adam`` (decay added to the gradient, L2) or
            ``sgd`` (the same L2); each as in `torch.optim`.
        momentum: of ``sgd``; ``nesterov`` turns on Nesterov momentum.
        schedule: the learning rate after a linear warm-up, see `decoder.schedules`:
            ``warmup_cosine`` (official T15), ``linear`` (official T12), ``constant``, ``step``,
            ``plateau``, or ``one_cycle``, which has its own kind of warm-up.
        lr_max: learning rate at the end of warm-up.
        lr_min: learning rate from ``lr_decay_steps`` on; with ``plateau`` the lowest rate.
        lr_warmup_steps: steps of linear warm-up; the first step has learning rate 0.
        lr_decay_steps: step at which the decay ends; None means ``train.n_steps``.
        one_cycle_start_ratio: ``one_cycle`` starts at this fraction of the largest learning rate,
            1 / ``div_factor`` of `torch.optim.lr_scheduler.OneCycleLR`.
        step_every_steps: ``step`` multiplies the learning rate by ``step_factor`` each time this
            number of steps has passed since the end of warm-up.
        plateau_factor: ``plateau`` multiplies the learning rate by this after more than
            ``plateau_patience`` evaluations in a row without a better validation PER.
        beta1, beta2, epsilon: of ``adamw`` and ``adam``, as in `torch.optim`.
        weight_decay: decay of weights; ``weight_decay_day`` is that of the day layers,
            ``weight_decay_bias`` that of the biases of recurrent layers and head. The official
            T15 trainer only decays weights, the official T12 trainer decays all three alike.
        update_absent_days: whether the day layers of days that are not in the batch are updated
            with a gradient of zero, so that decay and momentum act on them (official T12), or not
            at all (official T15).
        grad_clip: largest gradient norm over all parameters of a run; None means no clipping.
        on_non_finite: what to do if a loss or gradient is not finite: ``end`` freezes the run
            before the bad update and calls it diverged; ``skip`` skips the update, counts it, and
            calls the run diverged after `decoder.state.MAX_SKIPPED_IN_A_ROW` in a row.
        ema_decay: evaluation uses the moving average of the weights with this decay
            (`torch.optim.swa_utils`, started from the weights after the first step); 0 uses the
            weights themselves.
        accumulation_steps: batches per step; their gradients are averaged.
        frozen: parts of the decoder that keep the weights they start with: ``day`` (the day
            layers), ``head`` (the heads and ``model.post_rnn_layers``), ``layers`` (all that lies
            between, with the initial states and the mask token). They are neither updated nor
            decayed, and their gradients count in no norm, so clipping acts on the others alone.
    """

    algorithm: Annotated[Literal["adamw", "adam", "sgd"], PER_RUN] = "adamw"
    momentum: Annotated[Probability, _SGD] = 0.9
    nesterov: Annotated[bool, _SGD] = False
    schedule: Annotated[Schedule, mark(per_run=True, added=True)] = "warmup_cosine"
    schedule_day: Annotated[Schedule | None, mark(per_run=True, added=True, idle_if=_NO_DAYS)] = (
        None
    )
    lr_max: Annotated[PositiveReal, PER_RUN] = 0.005
    lr_min: Annotated[NonNegativeReal, _scheduled("optim.schedule", TO_LR_MIN)] = 0.0001
    lr_warmup_steps: Annotated[Steps, PER_RUN] = 1000
    lr_decay_steps: Annotated[
        PositiveSteps | None, _scheduled("optim.schedule", _FOR_DECAY_STEPS)
    ] = None
    lr_max_day: Annotated[PositiveReal | None, _DAYS] = None
    lr_min_day: Annotated[NonNegativeReal | None, _scheduled("optim.schedule_day", TO_LR_MIN)] = (
        None
    )
    lr_warmup_steps_day: Annotated[Steps | None, _DAYS] = None
    lr_decay_steps_day: Annotated[
        PositiveSteps | None, _scheduled("optim.schedule_day", _FOR_DECAY_STEPS)
    ] = None
    one_cycle_start_ratio: Annotated[float, Field(gt=0.0, le=1.0), _of_schedule("one_cycle")] = 0.04
    step_every_steps: Annotated[PositiveSteps, _of_schedule("step")] = 10_000
    step_factor: Annotated[float, Field(gt=0.0, le=1.0), _of_schedule("step")] = 0.1
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0), _of_schedule("plateau")] = 0.1
    plateau_patience: Annotated[Steps, _of_schedule("plateau")] = 10
    beta1: Annotated[Probability, _ADAM] = 0.9
    beta2: Annotated[Probability, _ADAM] = 0.999
    epsilon: Annotated[PositiveReal, _ADAM] = 0.1
    weight_decay: Annotated[NonNegativeReal, PER_RUN] = 0.001
    weight_decay_day: Annotated[NonNegativeReal, _DAYS] = 0.0
    weight_decay_bias: Annotated[NonNegativeReal, mark(per_run=True, added=True)] = 0.0
    update_absent_days: Annotated[
        bool, mark(per_run=True, added=True, idle_if={"model.day_layer": ["shared", "none"]})
    ] = False
    grad_clip: Annotated[PositiveReal | None, PER_RUN] = 10.0
    on_non_finite: Annotated[Literal["end", "skip"], mark(per_run=True, added=True)] = "end"
    ema_decay: Annotated[Probability, mark(per_run=True, added=True)] = 0.0
    accumulation_steps: Annotated[Width, mark(added=True)] = 1
    frozen: Annotated[
        tuple[ModelPart, ...],
        Field(strict=False, max_length=len(MODEL_PARTS)),
        AfterValidator(_in_order),
        ADDED_PER_RUN,
    ] = ()


START_KEY = "train.start_from"  # also the name of its hash among the files of a configuration
_WITHOUT_START = {START_KEY: [None]}


class TrainConfig(Section):
    """Budget, evaluation interval, number format, weights to keep and to start from.

    Attributes:
        n_steps: optimizer steps.
        eval_every_steps: steps between validations; there is always one after the last step.
        precision: ``float32``, or ``bfloat16`` autocast of the matrix products.
        keep_weights: which weights of a run to keep as a file, see `decoder.weights`: ``none``,
            ``final``, or ``best`` by validation PER, ties by loss. A run that was recorded without
            its weights is not trained again to get them.
        keep_logits: of which trials to keep the logits of the last evaluation as files, see
            `decoder.logits`: ``none``, ``validation``, ``test`` (those without labels) or ``both``.
            A run that was recorded without its logits is not trained again to get them.
        deterministic: whether to use only algorithms that repeat to the bit on the same GPU. They
            are slower (CTC is computed on the CPU). On a CPU it has no effect.
        start_from: a file of weights to start from in place of initial ones: ``best_checkpoint``
            of the official T15 trainer, ``modelWeights`` of the official T12 trainer, or
            ``weights.safetensors`` of ours; or the folder of a run that keeps one. Its content,
            not its place, is part of the identity of a run. Optimizer and schedules start anew.
        start_sessions: the sessions of the file's day layers, in their order. None takes them from
            the file (ours) or from the ``args.yaml`` beside it (T15); T12 files need them.
        start_new_days: what a day layer starts from whose session has none in the file: the
            ``mean`` of the file's day layers, or the ``identity``. None refuses such sessions.
    """

    n_steps: Annotated[PositiveSteps, PER_RUN] = 120_000
    eval_every_steps: PositiveSteps = 2000
    precision: Literal["float32", "bfloat16"] = "float32"
    keep_weights: Annotated[
        Literal["none", "final", "best"], mark(per_run=True, not_identity=True, added=True)
    ] = "none"
    keep_logits: Annotated[
        Literal["none", "validation", "test", "both"],
        mark(per_run=True, not_identity=True, added=True),
    ] = "none"
    deterministic: Annotated[bool, mark(added=True)] = False
    start_from: Annotated[str | None, mark(per_run=True, not_identity=True, added=True)] = None
    start_sessions: Annotated[
        tuple[str, ...] | None,
        Field(strict=False, min_length=1, max_length=1000),
        mark(per_run=True, added=True, idle_if=_WITHOUT_START),
    ] = None
    start_new_days: Annotated[
        Literal["mean", "identity"] | None,
        mark(per_run=True, added=True, idle_if=_WITHOUT_START),
    ] = None

    @property
    def kept_logits(self) -> tuple[str, ...]:
        """The splits whose logits are kept: ``validation``, ``test``."""
        both = ("validation", "test")
        return both if self.keep_logits == "both" else tuple({self.keep_logits}.intersection(both))


WORDS_KEY = "evaluation.words"
# The keys that name files; each is also the name of the file's hash among those of a configuration.
WORD_FILE_KEYS = (f"{WORDS_KEY}.lexicon", f"{WORDS_KEY}.language_model")
# The name of the hash of the pronunciations beside the recordings.
PRONUNCIATIONS_KEY = f"{WORDS_KEY}.pronunciations"
# Key → its values that name no file.
NO_FILES = dict(zip(WORD_FILE_KEYS, (("cmudict", "train"), ("none", "train")), strict=True))
WORD_COMMAND_KEY = f"{WORDS_KEY}.command"
_WORD_DECODER = f"{WORDS_KEY}.decoder"
_WORDS = mark(per_run=True, added=True, idle_if={_WORD_DECODER: ["none"]})
_WORD_BEAM = mark(per_run=True, added=True, only_if={_WORD_DECODER: ["beam"]})
_WORD_COMMAND = mark(per_run=True, added=True, only_if={_WORD_DECODER: ["command"]})
_NO_WORD_BEAM = {_WORD_DECODER: ["none", "command"]}
_FileName = Annotated[str, Field(min_length=1, max_length=4096)]
_Tuned = Literal["tune"]
_LmWeight = Annotated[float, Field(ge=0.0, le=1000.0)]
_Score = Annotated[float, Field(ge=-1000.0, le=1000.0)]


class WordsConfig(Section):
    """Decoding to words, for a word error rate beside the PER.

    The keys of ``beam`` have no effect with another decoder. A weight is a number, or ``tune``:
    then half of the validation trials choose it by their word errors, and the other half is
    reported. The grid, the halves and the rule are the same for every run, see
    `decoder.words.evaluate`.

    Attributes:
        decoder: ``none``; ``beam``, the search of flashlight-text over a lexicon; or ``command``, a
            program of yours that gets log-posteriors and gives sentences back.
        lexicon: the words that may come out: those of ``cmudict`` and of the training sentences;
            those of the training sentences alone with ``train``; or those of a file of
            pronunciations in CMUdict's format. A ``pronunciations.txt`` beside the recordings
            counts in each.
        language_model: ``none``; ``train``, an n-gram model of the training sentences; or an ARPA
            file or a binary of KenLM. Its content, not its place, is part of the identity of a run.
        ngram_order: words of an n-gram of the model ``train``.
        beam_width: candidates kept after each patch.
        lm_weight: of the natural logarithm of the language model's probability.
        word_score: natural logarithm, added for each word.
        blank_penalty: natural logarithm, subtracted from the blank's log-posterior at each patch.
        every: 0 decodes to words at the last evaluation alone; n at every n-th one, too.
        command: the program and its arguments, in which ``{logits}`` and ``{sentences}`` stand for
            the file to read and the file to write.
    """

    decoder: Annotated[Literal["none", "beam", "command"], ADDED_PER_RUN] = "none"
    lexicon: Annotated[_FileName, _WORD_BEAM] = "cmudict"
    language_model: Annotated[_FileName, _WORD_BEAM] = "none"
    ngram_order: Annotated[
        int,
        Field(ge=2, le=6),  # KenLM reads no lower order
        mark(
            per_run=True,
            added=True,
            idle_if=_NO_WORD_BEAM,
            only_if={f"{WORDS_KEY}.language_model": ["train"]},
        ),
    ] = 3
    beam_width: Annotated[Width, _WORD_BEAM] = 50
    lm_weight: Annotated[
        _LmWeight | _Tuned,
        mark(
            per_run=True,
            added=True,
            idle_if={**_NO_WORD_BEAM, f"{WORDS_KEY}.language_model": ["none"]},
        ),
    ] = "tune"
    word_score: Annotated[_Score | _Tuned, _WORD_BEAM] = "tune"
    blank_penalty: Annotated[_Score | _Tuned, _WORD_BEAM] = "tune"
    every: Annotated[Count, _WORDS] = 0
    command: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=10_000)], ...],
        Field(strict=False, max_length=100),
        _WORD_COMMAND,
    ] = ()

    @property
    def is_on(self) -> bool:
        """Whether a run is decoded to words."""
        return self.decoder != "none"

    def is_due(self, step: int, train: TrainConfig) -> bool:
        """Whether the evaluation at a step is decoded to words."""
        every = self.every * train.eval_every_steps
        return self.is_on and (step == train.n_steps or bool(every and step % every == 0))

    @property
    def is_tuned(self) -> bool:
        """Whether half of the validation trials chooses a weight, and only the other is reported.

        Without a language model, its weight has no effect and is not chosen.
        """
        weights = [self.word_score, self.blank_penalty]
        weights += [self.lm_weight] if self.language_model != "none" else []
        return self.decoder == "beam" and "tune" in weights


class EvaluationConfig(Section):
    """What a run's last evaluation does in addition to greedy decoding.

    Attributes:
        use_beam_search: whether to decode with a prefix beam search too. Its results are reported
            in addition to those of greedy decoding and never replace them.
        beam_width: prefixes kept after each patch.
        words: decoding to words.
    """

    use_beam_search: Annotated[bool, mark(per_run=True, added=True)] = False
    beam_width: Annotated[
        Width,
        mark(per_run=True, added=True, only_if={"evaluation.use_beam_search": [True]}),
    ] = 16
    words: WordsConfig = WordsConfig()


def without_places(flat: Mapping[str, Any], hashed: Collection[str]) -> dict[str, Any]:
    """The keys of some that name files for words, with ``file`` for each file.

    Its content counts, whose hash stands among the files of the configuration, and not its place.

    Args:
        flat: config path → value.
        hashed: the names of the hashes.
    """
    found: dict[str, Any] = {
        key: "file" for key in WORD_FILE_KEYS if key in flat and flat[key] not in NO_FILES[key]
    }
    if WORD_COMMAND_KEY in flat:
        found[WORD_COMMAND_KEY] = [
            "file" if f"{WORD_COMMAND_KEY}.{place}" in hashed else word
            for place, word in enumerate(flat[WORD_COMMAND_KEY])
        ]
    return found
