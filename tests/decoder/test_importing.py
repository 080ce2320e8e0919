"""Configuration files of both official codebases and of forks: every key read, none dropped."""

import json
import pickle
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from decoder.config import DecoderConfig, config_paths, flatten, load_config, override
from decoder.errors import ConfigError
from decoder.import_forks import FORKS
from decoder.import_tables import (
    T12,
    T15,
    T15_SESSIONS,
)
from decoder.importing import Imported, import_file, import_mapping
from decoder.official_values import (
    T12_CONSTANTS,
    T12_OFFICIAL,
    T15_CONSTANTS,
    T15_OFFICIAL,
)

BASES = Path(__file__).parents[2] / "ablations" / "base"

# The values of the published rnn_args.yaml, by key.
T15_FILE: dict[str, Any] = {
    "model": {
        "n_input_features": 512,
        "n_units": 768,
        "rnn_dropout": 0.4,
        "rnn_trainable": True,
        "n_layers": 5,
        "patch_size": 14,
        "patch_stride": 4,
        "input_network": {
            "n_input_layers": 1,
            "input_layer_sizes": [512],
            "input_trainable": True,
            "input_layer_dropout": 0.2,
        },
    },
    "gpu_number": "1",
    "mode": "train",
    "use_amp": True,
    "output_dir": "trained_models/baseline_rnn",
    "checkpoint_dir": "trained_models/baseline_rnn/checkpoint",
    "init_from_checkpoint": False,
    "init_checkpoint_path": "None",
    "save_best_checkpoint": True,
    "save_all_val_steps": False,
    "save_final_model": False,
    "save_val_metrics": True,
    "early_stopping": False,
    "early_stopping_val_steps": 20,
    "num_training_batches": 120000,
    "lr_scheduler_type": "cosine",
    "lr_max": 0.005,
    "lr_min": 0.0001,
    "lr_decay_steps": 120000,
    "lr_warmup_steps": 1000,
    "lr_max_day": 0.005,
    "lr_min_day": 0.0001,
    "lr_decay_steps_day": 120000,
    "lr_warmup_steps_day": 1000,
    "beta0": 0.9,
    "beta1": 0.999,
    "epsilon": 0.1,
    "weight_decay": 0.001,
    "weight_decay_day": 0,
    "seed": 10,
    "grad_norm_clip_value": 10,
    "batches_per_train_log": 200,
    "batches_per_val_step": 2000,
    "batches_per_save": 0,
    "log_individual_day_val_PER": True,
    "log_val_skip_logs": False,
    "save_val_logits": True,
    "save_val_data": False,
    "dataset": {
        "data_transforms": {
            "white_noise_std": 1.0,
            "constant_offset_std": 0.2,
            "random_walk_std": 0.0,
            "random_walk_axis": -1,
            "static_gain_std": 0.0,
            "random_cut": 3,
            "smooth_kernel_size": 100,
            "smooth_data": True,
            "smooth_kernel_std": 2,
        },
        "neural_dim": 512,
        "batch_size": 64,
        "n_classes": 41,
        "max_seq_elements": 500,
        "days_per_batch": 4,
        "seed": 1,
        "num_dataloader_workers": 4,
        "loader_shuffle": False,
        "must_include_days": None,
        "test_percentage": 0.1,
        "feature_subset": None,
        "dataset_dir": "../data/hdf5_data_final",
        "bad_trials_dict": None,
        "sessions": list(T15_SESSIONS),
        "dataset_probability_val": [0] + [1] * 44,
    },
}
# The values of the published train_model.py.
T12_FILE: dict[str, Any] = {
    "outputDir": "/logs/speechBaseline4",
    "datasetPath": "/speech/ptDecoder_ctc",
    "seqLen": 150,
    "maxTimeSeriesLen": 1200,
    "batchSize": 64,
    "lrStart": 0.02,
    "lrEnd": 0.02,
    "nUnits": 1024,
    "nBatch": 10000,
    "nLayers": 5,
    "seed": 0,
    "nClasses": 40,
    "nInputFeatures": 256,
    "dropout": 0.4,
    "whiteNoiseSD": 0.8,
    "constantOffsetSD": 0.2,
    "gaussianSmoothWidth": 2.0,
    "strideLen": 4,
    "kernelLen": 32,
    "bidirectional": True,
    "l2_decay": 1e-5,
}


def read(changes: dict[str, Any], file: dict[str, Any] = T12_FILE, **more: Any) -> Imported:
    return import_mapping({**file, **changes}, "args", **more)


def outcome(imported: Imported, key: str) -> str:
    [entry] = [entry for entry in imported.entries if entry.key == key]
    return entry.outcome


def leaves(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in nested.items():
        more = leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {}
        found |= more or {f"{prefix}{name}": value}
    return found


def test_the_published_t15_file_is_our_t15_base_field_for_field() -> None:
    imported = import_mapping(T15_FILE, "rnn_args.yaml")
    assert imported.codebase == "t15"
    assert flatten(imported.config) == flatten(load_config(BASES / "t15_official.yaml"))
    assert not imported.with_outcome("unknown", "unsupported", "absent")
    assert imported.sessions == T15_SESSIONS and len(T15_SESSIONS) == 45
    assert imported.not_validated == ("t15.2023.08.11",)


def test_the_published_t12_args_are_our_t12_base_field_for_field() -> None:
    imported = read({})
    assert imported.codebase == "t12"
    config = override(imported.config, {"data.path": "data/competitionData"}, "test")
    assert flatten(config) == flatten(load_config(BASES / "t12_official.yaml"))
    assert not imported.with_outcome("unknown", "unsupported", "absent")


@pytest.mark.parametrize("file", [T15_FILE, T12_FILE])
def test_every_key_of_a_file_is_accounted_for_once(file: dict[str, Any]) -> None:
    imported = import_mapping(file, "file")
    keys = [entry.key for entry in imported.entries if entry.key]
    assert sorted(keys) == sorted(leaves(file))
    set_twice = [path for entry in imported.entries for path in entry.fields]
    assert len(set_twice) == len(set(set_twice))


@pytest.mark.parametrize(
    ("rules", "official", "constants"),
    [(T15, T15_OFFICIAL, T15_CONSTANTS), (T12, T12_OFFICIAL, T12_CONSTANTS)],
)
def test_the_tables_name_fields_that_exist_and_keys_that_have_a_rule(
    rules: Any, official: Any, constants: Any
) -> None:
    assert set(official) <= set(rules)
    assert set(constants) <= set(config_paths())
    for key, value in official.items():
        effect = rules[key](value, official)
        assert effect.outcome == "mapped" and set(effect.fields) <= set(config_paths()), key


# For every key that sets a field: a value other than the published one, and the fields it sets.
T15_CHANGES: dict[str, tuple[Any, dict[str, Any]]] = {
    "model.n_units": (256, {"model.n_units": 256}),
    "model.rnn_dropout": (0.1, {"model.rnn_dropout": 0.1}),
    "model.n_layers": (3, {"model.n_layers": 3}),
    "model.patch_size": (20, {"model.patch_size": 20}),
    "model.patch_stride": (2, {"model.patch_stride": 2}),
    "model.input_network.input_layer_dropout": (0.0, {"model.input_dropout": 0.0}),
    "use_amp": (False, {"train.precision": "float32"}),
    "save_best_checkpoint": (False, {"train.keep_weights": "none"}),
    "num_training_batches": (10, {"train.n_steps": 10}),
    "lr_max": (0.004, {"optim.lr_max": 0.004}),
    "lr_min": (0.001, {"optim.lr_min": 0.001}),
    "lr_decay_steps": (9, {"optim.lr_decay_steps": 9}),
    "lr_warmup_steps": (2, {"optim.lr_warmup_steps": 2}),
    "lr_max_day": (0.01, {"optim.lr_max_day": 0.01}),
    "lr_min_day": (0.002, {"optim.lr_min_day": 0.002}),
    "lr_decay_steps_day": (8, {"optim.lr_decay_steps_day": 8}),
    "lr_warmup_steps_day": (3, {"optim.lr_warmup_steps_day": 3}),
    "beta0": (0.8, {"optim.beta1": 0.8}),
    "beta1": (0.98, {"optim.beta2": 0.98}),
    "epsilon": (1e-8, {"optim.epsilon": 1e-8}),
    "weight_decay": (0.1, {"optim.weight_decay": 0.1}),
    "weight_decay_day": (0.2, {"optim.weight_decay_day": 0.2}),
    "grad_norm_clip_value": (0, {"optim.grad_clip": None}),
    "batches_per_val_step": (50, {"train.eval_every_steps": 50}),
    "dataset.data_transforms.white_noise_std": (0.3, {"augment.white_noise_std": 0.3}),
    "dataset.data_transforms.constant_offset_std": (0.1, {"augment.constant_offset_std": 0.1}),
    "dataset.data_transforms.random_walk_std": (0.01, {"augment.random_walk_std": 0.01}),
    "dataset.data_transforms.random_walk_axis": (1, {"augment.random_walk_axis": "time"}),
    "dataset.data_transforms.static_gain_std": (0.1, {"augment.static_gain_std": 0.1}),
    "dataset.data_transforms.random_cut": (0, {"augment.random_cut": 0}),
    "dataset.data_transforms.smooth_kernel_size": (50, {"augment.smooth_size_bins": 50}),
    "dataset.data_transforms.smooth_data": (False, {"augment.smooth": False}),
    "dataset.data_transforms.smooth_kernel_std": (3, {"augment.smooth_std_bins": 3.0}),
    "dataset.batch_size": (32, {"data.batch_size": 32}),
    "dataset.days_per_batch": (2, {"data.days_per_batch": 2}),
    "dataset.feature_subset": ([0, 3], {"data.feature_subset": [0, 3]}),
    "dataset.dataset_dir": ("/data", {"data.path": "/data"}),
    "dataset.sessions": (["b", "a"], {"data.sessions": ["b", "a"]}),
    "lr_scheduler_type": (
        "linear",
        {"optim.schedule": "linear", "optim.lr_warmup_steps": 0, "optim.lr_warmup_steps_day": 0},
    ),
}
T12_CHANGES: dict[str, tuple[Any, dict[str, Any]]] = {
    "batchSize": (32, {"data.batch_size": 32}),
    "lrStart": (
        0.05,
        {"optim.lr_max": 0.05, "optim.schedule": "linear", "optim.lr_min": 0.02}
        | {"optim.lr_decay_steps": 10_000},
    ),
    "lrEnd": (
        0.01,
        {"optim.schedule": "linear", "optim.lr_min": 0.01, "optim.lr_decay_steps": 10_000},
    ),
    "nUnits": (512, {"model.n_units": 512}),
    "nBatch": (20_000, {"train.n_steps": 20_000}),
    "nLayers": (3, {"model.n_layers": 3}),
    "dropout": (0.2, {"model.rnn_dropout": 0.2}),
    "whiteNoiseSD": (0.1, {"augment.white_noise_std": 0.1}),
    "constantOffsetSD": (0.3, {"augment.constant_offset_std": 0.3}),
    "gaussianSmoothWidth": (1.5, {"augment.smooth_std_bins": 1.5}),
    "strideLen": (2, {"model.patch_stride": 2}),
    "kernelLen": (14, {"model.patch_size": 14}),
    "bidirectional": (False, {"model.bidirectional": False}),
    "l2_decay": (
        0.1,
        dict.fromkeys(
            ("optim.weight_decay", "optim.weight_decay_day", "optim.weight_decay_bias"), 0.1
        ),
    ),
}


def with_leaf(file: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    first, _, rest = key.partition(".")
    return {**file, first: with_leaf(file[first], rest, value) if rest else value}


@pytest.mark.parametrize(
    ("key", "value", "fields"),
    [(key, *change) for key, change in {**T15_CHANGES, **T12_CHANGES}.items()],
)
def test_a_changed_key_changes_only_its_own_fields(
    key: str, value: Any, fields: dict[str, Any]
) -> None:
    file = T15_FILE if key in T15_CHANGES else T12_FILE
    before = flatten(import_mapping(file, "file").config)
    imported = import_mapping(with_leaf(file, key, value), "file")
    after = flatten(imported.config)
    assert outcome(imported, key) == "mapped"
    assert {path: v for path, v in after.items() if v != before[path]} == fields


def test_every_key_that_sets_a_field_is_changed_above() -> None:
    assert {**T15_OFFICIAL, "dataset.feature_subset": None}.keys() == T15_CHANGES.keys()
    assert T12_OFFICIAL.keys() == T12_CHANGES.keys()


def test_t15_linear_schedule_ends_day_layers_at_the_ratio_of_the_rest() -> None:
    """The trainer's LinearLR multiplies every rate by lr_min / lr_max, without warm-up."""
    changes = {"lr_scheduler_type": "linear", "lr_max_day": 0.01, "lr_min_day": 0.003}
    imported = read(changes | {"lr_decay_steps": 500}, T15_FILE)
    optim = imported.config.optim
    assert (optim.schedule, optim.lr_warmup_steps, optim.lr_decay_steps_day) == ("linear", 0, 500)
    assert optim.lr_min_day == pytest.approx(0.01 * 0.0001 / 0.005)
    for key in ("lr_min_day", "lr_warmup_steps", "lr_warmup_steps_day", "lr_decay_steps_day"):
        assert outcome(imported, key) == "no effect"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("early_stopping", True),
        ("init_from_checkpoint", True),
        ("model.rnn_trainable", False),
        ("model.input_network.input_trainable", False),
        ("dataset.n_classes", 1012),
        ("lr_scheduler_type", "exponential"),
        ("dataset.data_transforms.random_walk_axis", 0),
    ],
)
def test_a_key_that_changes_the_trainer_and_has_no_field_is_unsupported(
    key: str, value: Any
) -> None:
    imported = import_mapping(with_leaf(T15_FILE, key, value), "file")
    [entry] = imported.with_outcome("unsupported")
    assert (entry.key, entry.fields) == (key, {}) and entry.note
    given_up = import_mapping(with_leaf(T15_FILE, key, value), "file", without=[key])
    assert outcome(given_up, key) == "left out"


def test_leaving_out_a_key_that_is_not_unsupported_is_an_error() -> None:
    with pytest.raises(ConfigError, match="--without lr_max"):
        import_mapping(T15_FILE, "file", without=["lr_max"])


@pytest.mark.parametrize("key", ["seqLen", "maxTimeSeriesLen"])
def test_keys_that_no_code_reads_have_no_effect(key: str) -> None:
    assert outcome(read({}), key) == "no effect"
    assert read({key: 999}).config == read({}).config


def test_an_unknown_key_is_listed_with_the_nearest_name_and_the_missing_key_too() -> None:
    file = {key: value for key, value in T12_FILE.items() if key != "whiteNoiseSD"}
    imported = import_mapping(file | {"whiteNoiseSDD": 0.1, "wandb": "x", "colour": None}, "args")
    [typo] = imported.with_outcome("unsupported")
    assert typo.key == "whiteNoiseSDD" and typo.note.endswith("did you mean 'whiteNoiseSD'?")
    assert outcome(imported, "wandb") == "no effect" and outcome(imported, "colour") == "unknown"
    [absent] = imported.with_outcome("absent")
    assert (absent.key, dict(absent.fields)) == ("whiteNoiseSD", {"augment.white_noise_std": 0.8})
    assert imported.config.augment.white_noise_std == 0.8


def test_hydra_keys_have_no_effect() -> None:
    assert outcome(read({"hydra": {"run": {"dir": "${outputDir}"}}}), "hydra") == "no effect"


# The run card run12_baseline_hybrid, in spellings of forks.
CARD_FIELDS = {
    "model.layer_norm": True,
    "optim.grad_clip": 1.5,
    "augment.time_mask_probability": 0.1,
    "augment.time_mask_width_bins": 40,
    "augment.time_mask_max_count": 2,
    "augment.feature_mask_probability": 0.1,
    "augment.feature_mask_width": 12,
    "augment.feature_mask_max_count": 2,
    "evaluation.use_beam_search": False,
}
CARDS: dict[str, dict[str, Any]] = {
    "snake": {
        "use_layer_norm": True,
        "gradient_clipping": 1.5,
        "time_mask_prob": 0.1,
        "time_mask_width": 40,
        "time_mask_max": 2,
        "freq_mask_prob": 0.1,
        "freq_mask_width": 12,
        "freq_mask_max": 2,
        "use_beam_search": False,
    },
    "camel": {
        "layerNorm": True,
        "gradClip": 1.5,
        "timeMaskProb": 0.1,
        "timeMaskWidth": 40,
        "numTimeMasks": 2,
        "freqMaskProb": 0.1,
        "freqMaskWidth": 12,
        "numFreqMasks": 2,
        "useBeamSearch": False,
    },
    "nested": {
        "model": {"layer_norm": True},
        "max_grad_norm": 1.5,
        "spec_augment": {
            "time_mask": {"prob": 0.1, "width": 40, "max_masks": 2},
            "freq_mask": {"prob": 0.1, "width": 12, "max": 2},
        },
        "eval": {"use_beam_search": False},
    },
    "ours": {path.partition(".")[2]: value for path, value in CARD_FIELDS.items()},
}


@pytest.mark.parametrize("card", list(CARDS))
def test_the_hybrid_run_card_can_be_read_in_the_spellings_of_forks(card: str) -> None:
    imported = read(CARDS[card])
    assert not imported.with_outcome("unknown", "unsupported")
    flat = flatten(imported.config)
    assert {path: flat[path] for path in CARD_FIELDS} == CARD_FIELDS
    plain = flatten(read({}).config)
    assert {p: v for p, v in flat.items() if p not in CARD_FIELDS} == {
        p: v for p, v in plain.items() if p not in CARD_FIELDS
    }


@pytest.mark.parametrize("name", sorted(FORKS))
def test_every_spelling_of_a_fork_takes_some_value_and_sets_existing_fields(name: str) -> None:
    taken = [FORKS[name](value, {}) for value in ("AdamW", "cosine", "fp32", "gru", [0, 0], 0, 41)]
    effects = [effect for effect in taken if effect.outcome != "unsupported"]
    assert effects
    assert {path for effect in effects for path in effect.fields} <= set(config_paths())


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"optimizer": "AdamW"}, {"optim.algorithm": "adamw"}),
        ({"optimizer": "SGD"}, {"optim.algorithm": "sgd"}),
        ({"lr_scheduler": "OneCycleLR"}, {"optim.schedule": "one_cycle"}),
        ({"scheduler": "ReduceLROnPlateau"}, {"optim.schedule": "plateau"}),
        ({"scheduler": "step"}, {"optim.schedule": "step"}),
        ({"rnn_type": "LSTM"}, {"model.architecture": "lstm"}),
        ({"use_amp": True}, {"train.precision": "bfloat16"}),
        ({"precision": "bf16"}, {"train.precision": "bfloat16"}),
        ({"grad_clip": False}, {"optim.grad_clip": None}),
        ({"inputDropout": 0.1}, {"model.input_dropout": 0.1}),
        ({"adam_epsilon": 1e-8}, {"optim.epsilon": 1e-8}),
        ({"random_cut": 3}, {"augment.random_cut": 3}),
        ({"label_smoothing": 0.1}, {"loss.label_smoothing": 0.1}),
        (
            {"time_mask_prob": 0.3, "use_spec_augment": False, "freq_mask_prob": 0.2},
            {"augment.time_mask_probability": 0.0, "augment.feature_mask_probability": 0.0},
        ),
        ({"time_mask_prob": 0.3, "spec_augment": True}, {"augment.time_mask_probability": 0.3}),
    ],
)
def test_other_settings_of_forks(changes: dict[str, Any], fields: dict[str, Any]) -> None:
    flat = flatten(read(changes).config)
    assert {path: flat[path] for path in fields} == fields


def test_an_optimizer_we_do_not_have_is_unsupported() -> None:
    assert outcome(read({"optimizer": "Lion"}), "optimizer") == "unsupported"


def test_the_error_for_a_bad_value_names_its_key() -> None:
    with pytest.raises(ConfigError) as caught:
        read({"dropout": "0.4", "lrStart": 0})
    dropout, rate = caught.value.problems
    assert "model.rnn_dropout" in dropout and "remove the quotes" in dropout
    assert dropout.endswith("dropout)") and rate.endswith("lrStart)")


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_file_is_read_as_yaml_or_json(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"args{suffix}"
    path.write_text(json.dumps(T12_FILE) if suffix == ".json" else yaml.safe_dump(T12_FILE))
    assert import_file(path).config == read({}).config


def test_a_file_of_ours_is_read_unchanged() -> None:
    imported = import_file(BASES / "t15_small.yaml")
    assert imported.codebase == "ours"
    assert imported.config == load_config(BASES / "t15_small.yaml")
    empty = import_mapping({"model": {"n_units": 8}}, "file")
    assert empty.codebase == "ours" and empty.config.model.n_units == 8


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_the_args_that_the_t12_trainer_pickles_are_read(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "args"
    path.write_bytes(pickle.dumps(T12_FILE, protocol=protocol))
    assert import_file(path) == import_mapping(T12_FILE, str(path))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_is_refused_and_the_error_says_how_to_convert_it(
    protocol: int, tmp_path: Path
) -> None:
    path = tmp_path / "args"
    path.write_bytes(pickle.dumps({**T12_FILE, "day": date(2024, 3, 1)}, protocol=protocol))
    with pytest.raises(ConfigError, match=r"args: is a pickle and asks for .*json\.dump"):
        import_file(path)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.json", '{"lrStart": 1, "lrStart": 2}', "'lrStart' appears twice"),
        ("a.json", "[1]", "must be a mapping"),
        ("a.json", "{", "not valid JSON"),
        ("a.yaml", "nUnits: 3\nnUnits: 4", "appears twice"),
        ("a.yaml", "colour: blue", "no key of the T15 rnn_args.yaml"),
    ],
)
def test_a_file_without_known_keys_is_refused(
    name: str, text: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=expected):
        import_file(tmp_path / name)
    with pytest.raises(ConfigError, match="cannot be read"):
        import_file(tmp_path / "missing" / name)


def test_defaults_of_ours_are_those_of_the_official_t15_trainer() -> None:
    """Therefore T15 files do not need a constant for every field that they do not name."""
    ours = flatten(DecoderConfig())
    theirs = flatten(import_mapping(T15_FILE, "file").config)
    told = {"data.path", "train.precision", "train.keep_weights", "optim.lr_decay_steps"}
    day = {p for p in ours if p.endswith("_day") and ours[p] is None}
    assert {path for path in ours if ours[path] != theirs[path]} == told | (
        day - {"optim.schedule_day"}
    )


@pytest.mark.parametrize("value", [None, "x", [], [1], {"a": 1}, 3.5, -1, 0, True, float("nan")])
@pytest.mark.parametrize("file", [T15_FILE, T12_FILE, T15_FILE | {"lr_scheduler_type": "linear"}])
def test_any_value_of_any_key_is_read_or_refused_by_name(file: dict[str, Any], value: Any) -> None:
    """A hand-written file can hold anything, and nothing may cause a traceback."""
    n_read = 0
    for key in leaves(file):
        try:
            n_read += bool(import_mapping(with_leaf(file, key, value), "file").entries)
        except ConfigError as error:
            assert str(error).startswith("file: ")
    assert n_read
