"""Tables of what every key of the official configuration files means in our configuration.

T15 is ``rnn_args.yaml`` of nejm-brain-to-text, T12 the ``args`` mapping of neural_seq_decoder. The
meaning of a key is what the trainer does with it, not what its name or comment says.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

Outcome = Literal[
    "mapped",  # sets fields of ours
    "constant",  # not in the file: the trainer's code fixes the value
    "absent",  # not in the file: the official value is used
    "elsewhere",  # has a counterpart here that is not a field of a configuration
    "no effect",  # the trainer never reads it, or nothing it trains or reports depends on it
    "unsupported",  # changes what the trainer does in a way that no field of ours can express
    "unknown",  # not a key of that trainer, nor a known spelling of a fork
    "left out",  # unsupported, and the user chose to drop it
]
Flat = Mapping[str, Any]


class Effect(NamedTuple):
    """The outcome of reading one key: the fields it sets, and a remark."""

    outcome: Outcome
    fields: Flat = {}
    note: str = ""


Rule = Callable[[Any, Flat], Effect]  # (the value of the key, the whole file) → its effect


def to(*paths: str, note: str = "") -> Rule:
    """A rule that copies the value to each of these fields."""
    return lambda value, _: Effect("mapped", dict.fromkeys(paths, value), note)


def converted(path: str, convert: Callable[[Any], Any], note: str = "") -> Rule:
    """A rule that converts the value; an error of `convert` means that we have no such value."""

    def rule(value: Any, _: Flat) -> Effect:
        try:
            return Effect("mapped", {path: convert(value)}, note)
        except (KeyError, TypeError, AttributeError):
            return Effect("unsupported", {}, f"{path} has no such value")

    return rule


def elsewhere(note: str) -> Rule:
    """A rule for a key whose counterpart here is not a field of a configuration."""
    return lambda value, _: Effect("elsewhere", {}, note)


def no_effect(note: str) -> Rule:
    """A rule for a key that changes nothing."""
    return lambda value, _: Effect("no effect", {}, note)


def only(accepted: Any, here: str, otherwise: str) -> Rule:
    """A rule that supports one value; any other changes the trainer in a way we cannot follow."""

    def rule(value: Any, _: Flat) -> Effect:
        same = value == accepted and isinstance(value, bool) == isinstance(accepted, bool)
        return Effect("no effect", {}, here) if same else Effect("unsupported", {}, otherwise)

    return rule


def squeeze(key: str) -> str:
    """A key in lower case without separators, so that all spellings of one name are equal."""
    return re.sub(r"[^a-z0-9]", "", key.lower())


# How a learning rate schedule is called, without case and separators → what it is called here.
SCHEDULES = {
    "cosine": "warmup_cosine",
    "warmupcosine": "warmup_cosine",
    "cosinewarmup": "warmup_cosine",
    "cosineannealing": "warmup_cosine",
    "cosineannealinglr": "warmup_cosine",
    "cosinewithwarmup": "warmup_cosine",
    "constant": "constant",
    "constantlr": "constant",
    "fixed": "constant",
    "none": "constant",
    "linear": "linear",
    "linearlr": "linear",
    "onecycle": "one_cycle",
    "onecyclelr": "one_cycle",
    "step": "step",
    "steplr": "step",
    "plateau": "plateau",
    "reduceonplateau": "plateau",
    "reducelronplateau": "plateau",
}


def clip(value: Any) -> Any:
    """A limit of the gradient norm; 0, false and null mean no clipping."""
    return value or None


_NOT_READ = no_effect("the trainer never reads it")
_OUTPUT = no_effect("concerns files and logs, not training")
_FOLDER = elsewhere("--results sets the folder for everything")

# ---------------------------------------------------------------------------------------- T15

# Sessions of the public T15 release, in day order.
_T15_DAYS = """
    2023.08.11 2023.08.13 2023.08.18 2023.08.20 2023.08.25 2023.08.27 2023.09.01 2023.09.03
    2023.09.24 2023.09.29 2023.10.01 2023.10.06 2023.10.08 2023.10.13 2023.10.15 2023.10.20
    2023.10.22 2023.11.03 2023.11.04 2023.11.17 2023.11.19 2023.11.26 2023.12.03 2023.12.08
    2023.12.10 2023.12.17 2023.12.29 2024.02.25 2024.03.03 2024.03.08 2024.03.15 2024.03.17
    2024.04.25 2024.04.28 2024.05.10 2024.06.14 2024.07.19 2024.07.21 2024.07.28 2025.01.10
    2025.01.12 2025.03.14 2025.03.16 2025.03.30 2025.04.13
"""
T15_SESSIONS = tuple(f"t15.{day}" for day in _T15_DAYS.split())


def _sessions(value: Any, _: Flat) -> Effect:
    if isinstance(value, list) and tuple(value) == T15_SESSIONS:
        note = "all 45 sessions of the release in its order; null means every session found"
        return Effect("mapped", {"data.sessions": None}, note)
    return Effect("mapped", {"data.sessions": value})


def _dataset_dir(value: Any, _: Flat) -> Effect:
    note = "relative to model_training there, to the current folder here"
    relative = value.removeprefix("../") if isinstance(value, str) else value
    return Effect("mapped", {"data.path": relative}, note if relative != value else "")


def not_validated(file: Flat) -> list[str]:
    """The sessions whose val trials the trainer skips."""
    sessions, shares = file.get("dataset.sessions"), file.get("dataset.dataset_probability_val")
    if not isinstance(sessions, list) or not isinstance(shares, list):
        return []
    return [str(name) for name, share in zip(sessions, shares, strict=False) if share == 0]


def _validated_days(value: Any, file: Flat) -> Effect:
    note, names = "every session with val trials is validated here", not_validated(file)
    return Effect("elsewhere", {}, f"{note}; skipped there: {', '.join(names)}" if names else note)


# Schedule → part of the names of the key without which it cannot be known.
_OF_SCHEDULE = {"step": "stepsize", "plateau": "patience"}


def _schedule_t15(value: Any, file: Flat) -> Effect:
    schedule = SCHEDULES.get(squeeze(str(value)))
    if schedule is None:
        return Effect(
            "unsupported", {}, f"optim.schedule has {', '.join(sorted(set(SCHEDULES.values())))}"
        )
    if schedule != "linear":
        note = "" if value == "cosine" else "of a fork; the trainer has cosine and linear"
        needed = _OF_SCHEDULE.get(schedule)
        if needed and not any(needed in squeeze(key) for key in file):
            note += f"; no key has its {needed}, so our default is taken"
        return Effect("mapped", {"optim.schedule": schedule}, note)
    fields = {
        "optim.schedule": "linear",
        "optim.lr_warmup_steps": 0,
        "optim.lr_warmup_steps_day": 0,
        "optim.lr_decay_steps_day": file["lr_decay_steps"],
    }
    rates = [file["lr_min"], file["lr_max_day"], file["lr_max"]]
    if all(isinstance(rate, int | float) for rate in rates) and rates[2]:  # else refused later
        fields["optim.lr_min_day"] = rates[0] * (rates[1] / rates[2])
    return Effect("mapped", fields, "as there: no warm-up, and the same ratio for all groups")


def _of_cosine(path: str) -> Rule:
    def rule(value: Any, file: Flat) -> Effect:
        if file["lr_scheduler_type"] == "linear":
            return Effect("no effect", {}, "the trainer's linear schedule does not read it")
        return Effect("mapped", {path: value})

    return rule


def _keep_weights(value: Any, file: Flat) -> Effect:
    final = "final" if file.get("save_final_model") else "none"
    return Effect("mapped", {"train.keep_weights": "best" if value else final})


_WALK_AXES = {-1: "features", 2: "features", -2: "time", 1: "time"}

T15: dict[str, Rule] = {
    "model.n_input_features": elsewhere("the recordings decide it"),
    "model.n_units": to("model.n_units"),
    "model.rnn_dropout": to("model.rnn_dropout"),
    "model.rnn_trainable": only(True, "as here", "recurrent layers cannot be frozen"),
    "model.n_layers": to("model.n_layers"),
    "model.patch_size": to("model.patch_size"),
    "model.patch_stride": to("model.patch_stride"),
    "model.input_network.n_input_layers": _NOT_READ,
    "model.input_network.input_layer_sizes": _NOT_READ,
    "model.input_network.input_trainable": only(True, "as here", "day layers cannot be frozen"),
    "model.input_network.input_layer_dropout": to("model.input_dropout"),
    "gpu_number": elsewhere("--device sets where to train"),
    "mode": no_effect("only decides whether folders and a log are made"),
    "use_amp": converted("train.precision", {True: "bfloat16", False: "float32"}.__getitem__),
    "output_dir": _FOLDER,
    "checkpoint_dir": _FOLDER,
    "init_from_checkpoint": only(
        False,
        "as here",
        "it goes on with that optimizer, too; set train.start_from to start from the weights alone",
    ),
    "init_checkpoint_path": no_effect("only read if init_from_checkpoint is true"),
    "save_best_checkpoint": _keep_weights,
    "save_all_val_steps": _OUTPUT,
    "save_final_model": _OUTPUT,
    "save_val_metrics": _OUTPUT,
    "early_stopping": only(
        False, "as here", "every run uses its whole budget here, so that arms can be compared"
    ),
    "early_stopping_val_steps": no_effect("only read if early_stopping is true"),
    "num_training_batches": to("train.n_steps"),
    "lr_max": to("optim.lr_max"),
    "lr_min": to("optim.lr_min"),
    "lr_decay_steps": to("optim.lr_decay_steps"),
    "lr_warmup_steps": _of_cosine("optim.lr_warmup_steps"),
    "lr_max_day": to("optim.lr_max_day"),
    "lr_min_day": _of_cosine("optim.lr_min_day"),
    "lr_decay_steps_day": _of_cosine("optim.lr_decay_steps_day"),
    "lr_warmup_steps_day": _of_cosine("optim.lr_warmup_steps_day"),
    "lr_scheduler_type": _schedule_t15,
    "beta0": to("optim.beta1", note="beta0 there is beta1 here"),
    "beta1": to("optim.beta2", note="beta1 there is beta2 here"),
    "epsilon": to("optim.epsilon"),
    "weight_decay": to("optim.weight_decay"),
    "weight_decay_day": to("optim.weight_decay_day"),
    "seed": elsewhere("an ablation's seeds"),
    "grad_norm_clip_value": converted("optim.grad_clip", clip),
    "batches_per_train_log": _OUTPUT,
    "batches_per_val_step": to(
        "train.eval_every_steps", note="steps N, 2N, ... here; steps 1, N + 1, ... there"
    ),
    "batches_per_save": _NOT_READ,
    "log_individual_day_val_PER": _OUTPUT,
    "log_val_skip_logs": _OUTPUT,
    "save_val_logits": _OUTPUT,
    "save_val_data": _OUTPUT,
    "dataset.data_transforms.white_noise_std": to("augment.white_noise_std"),
    "dataset.data_transforms.constant_offset_std": to("augment.constant_offset_std"),
    "dataset.data_transforms.random_walk_std": to("augment.random_walk_std"),
    "dataset.data_transforms.random_walk_axis": converted(
        "augment.random_walk_axis", _WALK_AXES.__getitem__
    ),
    "dataset.data_transforms.static_gain_std": to("augment.static_gain_std"),
    "dataset.data_transforms.random_cut": to("augment.random_cut"),
    "dataset.data_transforms.smooth_kernel_size": to("augment.smooth_size_bins"),
    "dataset.data_transforms.smooth_data": to("augment.smooth"),
    "dataset.data_transforms.smooth_kernel_std": to("augment.smooth_std_bins"),
    "dataset.neural_dim": _NOT_READ,
    "dataset.batch_size": to("data.batch_size"),
    "dataset.n_classes": only(41, "as here", "a decoder here has 41 classes"),
    "dataset.max_seq_elements": _NOT_READ,
    "dataset.days_per_batch": to("data.days_per_batch"),
    "dataset.seed": elsewhere("an ablation's seeds decide the batches"),
    "dataset.num_dataloader_workers": no_effect("only concerns speed"),
    "dataset.loader_shuffle": no_effect("shuffles batches that are drawn at random anyway"),
    "dataset.must_include_days": no_effect("the trainer passes null instead"),
    "dataset.test_percentage": no_effect("the trainer passes 0 and 1 instead"),
    "dataset.feature_subset": to("data.feature_subset"),
    "dataset.dataset_dir": _dataset_dir,
    "dataset.bad_trials_dict": no_effect("the trainer passes null instead"),
    "dataset.sessions": _sessions,
    "dataset.dataset_probability_val": _validated_days,
}

# Fields that a key sets unless another key says otherwise.
IMPLIED: dict[str, frozenset[str]] = {
    "lrEnd": frozenset(("optim.schedule", "optim.lr_decay_steps")),
    "lr_scheduler_type": frozenset(
        f"optim.lr_{name}"
        for name in ("min_day", "warmup_steps", "warmup_steps_day", "decay_steps_day")
    ),
}


# ---------------------------------------------------------------------------------------- T12


def _schedule_t12(value: Any, file: Flat) -> Effect:
    """LinearLR from lrStart to lrEnd; constant if they are equal; or what a fork's key names."""
    if any(re.fullmatch(r".*schedule(r|type|rtype|rname|name)?", squeeze(key)) for key in file):
        return Effect("mapped", {"optim.lr_min": value, "optim.lr_decay_steps": file["nBatch"]})
    if value == file["lrStart"]:
        return Effect("mapped", {"optim.schedule": "constant"}, "equal to lrStart")
    fields = {
        "optim.schedule": "linear",
        "optim.lr_min": value,
        "optim.lr_decay_steps": file["nBatch"],
    }
    return Effect("mapped", fields)


def _smoothing_t12(value: Any, _: Flat) -> Effect:
    if value == 0:
        return Effect("mapped", {"augment.smooth": False}, "the trainer would divide by zero")
    return Effect("mapped", {"augment.smooth_std_bins": value})


def _dataset_t12(value: Any, _: Flat) -> Effect:
    return Effect("elsewhere", {}, "a pickle; set data.path to the release's folder of .mat files")


T12: dict[str, Rule] = {
    "outputDir": _FOLDER,
    "datasetPath": _dataset_t12,
    "seqLen": _NOT_READ,
    "maxTimeSeriesLen": _NOT_READ,
    "batchSize": to("data.batch_size"),
    "lrStart": to("optim.lr_max"),
    "lrEnd": _schedule_t12,
    "nUnits": to("model.n_units"),
    "nBatch": to("train.n_steps"),
    "nLayers": to("model.n_layers"),
    "seed": elsewhere("an ablation's seeds"),
    "nClasses": only(40, "41 here, with the blank", "a decoder here has 41 classes"),
    "nInputFeatures": elsewhere("the recordings decide it"),
    "dropout": to("model.rnn_dropout"),
    "whiteNoiseSD": to("augment.white_noise_std"),
    "constantOffsetSD": to("augment.constant_offset_std"),
    "gaussianSmoothWidth": _smoothing_t12,
    "strideLen": to("model.patch_stride"),
    "kernelLen": to("model.patch_size"),
    "bidirectional": to("model.bidirectional"),
    "l2_decay": to("optim.weight_decay", "optim.weight_decay_day", "optim.weight_decay_bias"),
}
