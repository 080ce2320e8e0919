"""Keys that only forks have: taken where their meaning is known, else refused until left out."""

from typing import Any

import pytest

from decoder.config import flatten
from decoder.errors import ConfigError
from decoder.import_forks import FORKS
from decoder.import_keys import fork_effect, is_off
from decoder.importing import Imported, import_mapping, refusals

T12: dict[str, Any] = {"nUnits": 64, "nLayers": 3, "whiteNoiseSD": 0.7, "lrStart": 0.03} | {
    "lrEnd": 0.03,
    "l2_decay": 1e-5,
    "nBatch": 900,
}
T15: dict[str, Any] = {
    "model": {"n_units": 96, "n_layers": 3, "rnn_dropout": 0.3},
    "num_training_batches": 900,
    "lr_max": 0.004,
    "lr_max_day": 0.003,
    "dataset": {"batch_size": 16, "days_per_batch": 2},
}


def read(changes: dict[str, Any], file: dict[str, Any] = T12, **more: Any) -> Imported:
    return import_mapping({**file, **changes}, "file", **more)


def refused(imported: Imported) -> set[str]:
    return {entry.key for entry in imported.with_outcome("unsupported")}


def outcomes(imported: Imported, *keys: str) -> list[str]:
    found = {entry.key: entry.outcome for entry in imported.entries}
    return [found[key] for key in keys]


@pytest.mark.parametrize(
    ("file", "changes", "fields"),
    [
        (T12, {"decoder_type": "GRUDecoder"}, {"model.architecture": "gru"}),
        (T15, {"architecture": "BiLSTM"}, {"model.architecture": "lstm"}),
        (T15, {"architecture": "BiGRUDecoder"}, {"model.bidirectional": True}),
        (T15, {"lr_scheduler_type": "step"}, {"optim.schedule": "step"}),
        (T15, {"lr_scheduler_type": "OneCycle"}, {"optim.schedule": "one_cycle"}),
        (T15, {"lr_scheduler_type": "none"}, {"optim.schedule": "constant"}),
        (T15, {"lr_scheduler_type": "plateau", "lr_patience": 4}, {"optim.plateau_patience": 4}),
        (
            T15,
            {"lr_scheduler_type": "step", "lr_step_size": 250, "lr_decay_factor": 0.3},
            {"optim.step_every_steps": 250, "optim.step_factor": 0.3},
        ),
        (
            T15,
            {"optimizer_type": "SGD", "momentum": 0.85, "nesterov": True},
            {"optim.algorithm": "sgd", "optim.momentum": 0.85, "optim.nesterov": True},
        ),
        (
            T12,
            {"model": {"gru_decoder": {"dropout_rate": 0.15, "bidirectional": False}}},
            {"model.rnn_dropout": 0.15, "model.bidirectional": False},
        ),
        (
            T12,
            {"label_smoothing": {"enabled": True, "epsilon": 0.2}},
            {"loss.label_smoothing": 0.2},
        ),
        (T12, {"gradient_clipping": {"enabled": True, "max_norm": 2}}, {"optim.grad_clip": 2.0}),
        (T12, {"use_augmentation": True}, {"augment.white_noise_std": 0.7}),
        (T12, {"optimizer_params": {"momentum": 0.8}, "data_seed": 4}, {"optim.momentum": 0.8}),
        (T12, {"precision": 32}, {"train.precision": "float32"}),
        (T12, {"precision": "bf16-mixed"}, {"train.precision": "bfloat16"}),
        (T12, {"betas": (0.9, 0.97)}, {"optim.beta1": 0.9, "optim.beta2": 0.97}),
        (T12, {"smooth_lookahead": 0}, {"augment.smooth_causal": True}),
        (T12, {"smooth_lookahead": None}, {"augment.smooth_causal": False}),
        (T12, {"nBatch": 2e3}, {"train.n_steps": 2000}),
        (
            T12,
            {
                "spec": 0,
                "time_masking": {"enabled": True, "num_masks": 3, "mask_width": 15, "p": 1},
            },
            {
                "augment.time_mask_max_count": 3,
                "augment.time_mask_width_bins": 15,
                "augment.time_mask_probability": 1.0,
            },
        ),
        (
            T12,
            {"freq_mask_prob": 0.2, "freq_mask_max_masks": 3},
            {"augment.feature_mask_max_count": 3},
        ),
        (
            T12,
            {"augmentation": {"white_noise": {"enabled": False, "std": 0.7}}},
            {"augment.white_noise_std": 0.0},
        ),
        (T12, {"augmentation": {"enabled": False}}, {"augment.constant_offset_std": 0.0}),
        (T12, {"use_smoothing": False}, {"augment.smooth": False}),
        (
            T12,
            {"lr_schedule_type": "cosine", "lrEnd": 0.001},
            {"optim.schedule": "warmup_cosine", "optim.lr_min": 0.001, "optim.lr_decay_steps": 900},
        ),
    ],
)
def test_a_known_spelling_is_taken(
    file: dict[str, Any], changes: dict[str, Any], fields: dict[str, Any]
) -> None:
    imported = read(changes, file)
    assert not refused(imported)
    flat = flatten(imported.config)
    assert {path: flat[path] for path in fields} == fields


@pytest.mark.parametrize(
    ("file", "changes", "keys"),
    [
        (T15, {"use_diphones": True}, {"use_diphones"}),
        (T15, {"head_type": "residual", "head_blocks": 2}, {"head_type", "head_blocks"}),
        (T15, {"channel_shuffle_std": 0.2}, {"channel_shuffle_std"}),
        (T15, {"decoder_type": "conformer"}, {"decoder_type"}),
        (T15, {"decoder_type": "transformer", "embed_dim": 64}, {"decoder_type", "embed_dim"}),
        (T12, {"model_name": "small_mamba"}, {"model_name"}),
        (T12, {"decoder_type": "gru", "gru_skip": 2}, {"gru_skip"}),
        (T12, {"reslstm_norm": "layer"}, {"reslstm_norm"}),
        (T12, {"num_classes": 1681}, {"num_classes"}),
        (T12, {"smooth_lookahead": 3}, {"smooth_lookahead"}),
        (T12, {"cosine_T_max": 800, "warmup_steps": 100}, {"cosine_T_max"}),
        (T12, {"post_gru_layers": 2}, {"post_gru_layers"}),
        (T12, {"input_speckle_p": 0.1}, {"input_speckle_p"}),
        (T12, {"lr_schedule_type": "cosine", "cosine_T0": 300}, {"cosine_T0"}),
        (
            T12,
            {"use_coordinated_dropout": True, "coordinated_dropout_rate": 0.1},
            {"use_coordinated_dropout", "coordinated_dropout_rate"},
        ),
        (T12, {"precision": 16}, {"precision"}),
        (T12, {"use_spec_augment": True}, {"use_spec_augment"}),  # on, but how strong?
        (T12, {"defaults": ["_self_"]}, {"defaults"}),
        (T12, {"dropout": "${hydra:job.num}"}, {"dropout"}),
    ],
)
def test_what_changes_training_and_cannot_be_said_is_refused_until_left_out(
    file: dict[str, Any], changes: dict[str, Any], keys: set[str]
) -> None:
    imported = read(changes, file)
    assert refused(imported) == keys
    own = ("optim.schedule", "optim.lr_warmup_steps")
    plain = {k: v for k, v in flatten(read({}, file).config).items() if k not in own}
    left_out = read(changes, file, without=sorted(keys))
    assert not refused(left_out)
    if "lr_schedule_type" not in changes:
        assert plain.items() <= flatten(left_out.config).items()


@pytest.mark.parametrize(
    "changes",
    [
        {"use_coordinated_dropout": False, "coordinated_dropout_rate": 0.1},
        {"head_type": "none", "head_norm": "layer", "head_dropout": 0.1},
        {"input_speckle_p": 0.0, "input_speckle_mode": "feature"},
        {"decoder_type": "gru", "reslstm_norm": "layer", "transformer_heads": 4},
        {"adapter": {"enabled": False, "n_layers": 2, "kind": "lora"}},
        {"discriminator": {"weight": 0.0, "n_layers": 2, "dropout": 0.5}},
        {"lm": {"alpha": 0.5, "n_layers": 6}, "eval": {"batch_size": 9, "split": "val"}},
        {"run_number": 12, "run_purpose": "longer", "notes": "x", "save_interval": 50},
        {"beam_prune_threshold": -9, "lm_weight": 0.3, "gradient_checkpointing": True},
        {"model_name": "speechBaseline9", "torch_compile": True, "nDays": 24, "num_classes": 41},
    ],
)
def test_what_is_off_or_no_part_of_training_changes_nothing(changes: dict[str, Any]) -> None:
    imported = read(changes)
    assert not refused(imported)
    assert imported.config == read({}).config


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("block", ["attention", "adapter", "discriminator"])
def test_a_side_block_never_sets_the_decoders_fields(block: str, order: int) -> None:
    side = {block: {"n_layers": 2, "dropout": 0.1, "n_heads": 8}}
    parts = [T15, side][::order]
    imported = import_mapping({**parts[0], **parts[1]}, "file")
    assert (imported.config.model.n_layers, imported.config.model.rnn_dropout) == (3, 0.3)
    assert refused(imported) == {f"{block}.{name}" for name in side[block]}
    assert not refused(read(side, T15, without=[f"{block}.*"]))


def test_the_keys_of_a_side_block_are_refused_in_one_sentence() -> None:
    side = {"attention": {"n_layers": 2, "dropout": 0.1}, "use_diphones": True}
    first, block = refusals(read(side, T15), "drop {}")
    assert first.startswith("use_diphones: true") and first.endswith("drop use_diphones")
    assert "n_layers, dropout" in block and block.endswith("drop 'attention.*'")


@pytest.mark.parametrize("inside", ["model.attention", "encoder.attention", "dataset.lm_teacher"])
def test_a_side_block_inside_of_another_is_one_too(inside: str) -> None:
    first, second = inside.split(".")
    nested = {**T15, first: {**T15.get(first, {}), second: {"n_layers": 7}}}
    imported = import_mapping(nested, "file")
    assert imported.config.model.n_layers == 3
    assert refused(imported) == {f"{inside}.n_layers"}


def test_one_group_of_parameters_has_one_decay_and_one_rate() -> None:
    block = {"optimizer": {"type": "adamw", "params": {"lr": 0.006, "weight_decay": 0.02}}}
    optim = read(block).config.optim
    assert (optim.weight_decay, optim.weight_decay_day, optim.weight_decay_bias) == (0.02,) * 3
    assert (optim.lr_max, optim.lr_max_day) == (0.006, None)
    one_group = {key: value for key, value in T15.items() if key != "lr_max_day"}
    optim = read({"weight_decay": 0.02}, one_group).config.optim
    assert (optim.weight_decay_day, optim.weight_decay_bias) == (0.02, 0.02)
    assert (optim.lr_max, optim.lr_max_day) == (0.004, None)
    optim = read({"weight_decay": 0.02}, T15).config.optim
    assert (optim.weight_decay_day, optim.lr_max_day) == (0.0, 0.003)


@pytest.mark.parametrize("value", [0, 0.0, False, None, "", "None", "off", [], {}])
def test_a_value_that_is_off_is_listed_but_not_refused(value: Any) -> None:
    assert is_off(value)
    assert fork_effect("colour_wheel", value, {"colour_wheel": value}, (), ()).outcome == "unknown"


def test_a_value_that_no_field_takes_names_its_key() -> None:
    with pytest.raises(ConfigError, match="set by hidden_size"):
        import_mapping({"nLayers": 3, "hidden_size": -4}, "file")
    assert outcomes(read({"post_gru_dropout": None, "dropout": 0.1}), "post_gru_dropout") == [
        "unknown"
    ]


@pytest.mark.parametrize("value", ["x", {"a": [1]}])
def test_any_value_of_any_key_of_a_fork_is_read_or_refused_by_name(value: Any) -> None:
    n_read = 0
    for name in FORKS:
        try:
            n_read += bool(import_mapping({"nLayers": 2, name: value}, "file").entries)
        except ConfigError as error:
            assert str(error).startswith("file: ")
    assert n_read
