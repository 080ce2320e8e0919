"""Configuration: errors that name every mistake, and the identity of runs."""

from pathlib import Path
from typing import Any

import pytest

from decoder.config import (
    DecoderConfig,
    config_paths,
    flatten,
    identity,
    idle_paths,
    load_config,
    override,
    pack_key,
    parse_config,
    resolve,
    run_id,
)
from decoder.entries import with_file
from decoder.errors import ConfigError
from decoder.field_paths import unflatten

BASES = Path(__file__).parents[2] / "ablations" / "base"


def complaint(nested: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(nested, "here.yaml")
    return str(caught.value)


@pytest.mark.parametrize("base", ["t15_official", "t12_official"])
def test_an_official_base_states_every_value(base: str) -> None:
    """Otherwise a changed default would change the official configuration."""
    from decoder.strict_yaml import load_yaml

    nested = load_yaml(BASES / f"{base}.yaml")
    said = {f"{s}.{name}" for s, fields in nested.items() for name in fields}
    said |= {f"evaluation.words.{name}" for name in nested["evaluation"]["words"]}
    said.remove("evaluation.words")
    idle = idle_paths(load_config(BASES / f"{base}.yaml"))
    assert set(config_paths()) == said | idle


def test_an_unknown_key_is_refused_with_the_nearest_name() -> None:
    message = complaint({"model": {"n_unit": 3}})
    assert message == "here.yaml: model.n_unit: unknown key 'n_unit'; did you mean 'n_units'?"


def test_all_problems_are_named_together() -> None:
    message = complaint({"modle": {}, "optim": {"epsilon": "1e-3", "beta1": 1.5}, "train": 3})
    assert len(message.splitlines()) == 4


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("optim", "epsilon", "1e-3", "remove the quotes"),
        ("train", "n_steps", 3.5, "a whole number, but got 3.5"),
        ("train", "n_steps", True, "a whole number, but got true"),
        ("augment", "smooth", "no", "write false"),
        ("loss", "ctc_reduction", "sum", "'none_then_mean' or 'mean'"),
        ("model", "rnn_dropout", 1.0, "below 1"),
        ("optim", "lr_max", 0.0, "above 0"),
        ("optim", "lr_max", float("nan"), "finite"),
        ("data", "sessions", [], "at least 1"),
    ],
)
def test_a_bad_value_is_refused_and_the_error_says_what_is_allowed(
    section: str, key: str, value: Any, expected: str
) -> None:
    message = complaint({section: {key: value}})
    assert message.startswith(f"here.yaml: {section}.{key}: ") and expected in message


def test_impossible_combinations_are_refused() -> None:
    assert "must not exceed" in complaint({"optim": {"lr_max": 0.001, "lr_min": 0.01}})
    assert "lr_min_day (0.0001) must not exceed optim.lr_max_day (5e-05)" in complaint(
        {"optim": {"lr_max_day": 5e-5}}  # lr_min_day is that of the rest
    )
    assert "optim.momentum above 0" in complaint(
        {"optim": {"algorithm": "sgd", "nesterov": True, "momentum": 0.0}}
    )
    assert "days_per_batch" in complaint({"data": {"batch_size": 2, "days_per_batch": 4}})


def test_an_integer_is_accepted_as_a_float() -> None:
    config = parse_config({"augment": {"white_noise_std": 1}}, "x")
    assert config == DecoderConfig()
    assert run_id(config, 0, "d") == run_id(DecoderConfig(), 0, "d")


def test_overrides_take_dotted_paths_and_suggest_the_nearest() -> None:
    config = override(DecoderConfig(), {"optim.epsilon": 1e-8, "optim.grad_clip": None}, "x")
    assert config.optim.epsilon == 1e-8 and config.optim.grad_clip is None
    with pytest.raises(ConfigError, match="did you mean 'optim.epsilon'"):
        override(DecoderConfig(), {"optim.epsilom": 1e-8}, "x")


def test_flatten_and_unflatten_are_inverse() -> None:
    config = override(DecoderConfig(), {"data.sessions": ["a", "b"]}, "x")
    assert parse_config(unflatten(flatten(config)), "x") == config


def test_a_value_from_another_field_gives_the_same_run_as_the_value_itself() -> None:
    implied = DecoderConfig()
    said = override(implied, {"optim.lr_max_day": 0.005, "optim.lr_decay_steps": 120_000}, "x")
    assert implied != said
    assert resolve(implied).optim.lr_max_day == 0.005
    assert run_id(implied, 0, "d") == run_id(said, 0, "d")


def test_identity_depends_on_config_seed_and_data_but_not_on_the_folder() -> None:
    config = DecoderConfig()
    identity = run_id(config, 0, "d")
    assert identity == run_id(override(config, {"data.path": "/elsewhere"}, "x"), 0, "d")
    assert identity == run_id(config, 0, "d", replicate=0)
    assert identity != run_id(config, 0, "d", replicate=1)
    assert identity != run_id(config, 1, "d")
    assert identity != run_id(config, 0, "e")
    assert identity != run_id(override(config, {"optim.epsilon": 0.2}, "x"), 0, "d")


@pytest.mark.parametrize(
    ("base", "expected"),
    [("t15_small", "7db871b695f41c1e"), ("t15_official", "b643419b08e8a0df")],
)
def test_runs_recorded_before_a_field_was_added_are_still_found(base: str, expected: str) -> None:
    """These are the identities of the first records; only `NUMERICS_VERSION` may change them."""
    assert run_id(load_config(BASES / f"{base}.yaml"), 1, "0123456789abcdef") == expected


def test_marks_name_existing_fields_and_possible_values() -> None:
    paths = config_paths()
    for path, marks in paths.items():
        for other, values in [*marks.idle_if.items(), *marks.only_if.items()]:
            assert other in paths and other != path
            needs = {"evaluation.words.command": ["program"]} if "command" in values else {}
            for value in values:
                override(DecoderConfig(), {other: value, **needs}, path)


def test_a_field_of_another_architecture_or_of_a_missing_part_is_idle() -> None:
    def idle(**changes: Any) -> set[str]:
        return idle_paths(
            override(DecoderConfig(), {f"model.{n}": v for n, v in changes.items()}, "x")
        )

    transformer = {"n_heads", "head_units", "ff_ratio", "position", "transformer_dropout"}
    recurrent = {"h0", "layer_norm", "rnn_dropout"}
    assert {f"model.{n}" for n in transformer} <= idle() & idle(architecture="lstm")
    assert not {f"model.{n}" for n in recurrent} & idle(architecture="lstm")
    of_transformer = idle(architecture="transformer")
    assert {f"model.{n}" for n in recurrent} <= of_transformer
    assert not {f"model.{n}" for n in transformer} & of_transformer
    assert {"model.post_rnn_units", "loss.inter_ctc_weight", "model.mask_token"} <= idle()
    assert "model.post_rnn_dropout" not in idle(post_rnn_layers=1)
    assert "loss.inter_ctc_weight" not in idle(inter_ctc_layers=[2])
    day = {path for path in config_paths() if path.endswith("_day")}
    assert len(day) == 6 and day <= idle(day_layer="none")
    assert "optim.update_absent_days" in idle(day_layer="shared")
    assert not day & idle(day_layer="shared")


def test_a_field_of_one_schedule_is_idle_if_neither_schedule_is_that_one() -> None:
    def idle(**changes: Any) -> set[str]:
        optim = {f"optim.{name}": value for name, value in changes.items()}
        return {p.removeprefix("optim.") for p in idle_paths(override(DecoderConfig(), optim, "x"))}

    assert not {"lr_min", "lr_min_day"} & idle()
    assert {"lr_min", "lr_min_day", "lr_decay_steps_day"} <= idle(schedule="constant")
    assert "lr_min_day" in idle(schedule_day="constant")
    assert "lr_min" not in idle(schedule_day="constant")
    assert "lr_min" in idle(schedule="constant", schedule_day="linear")
    assert "step_factor" in idle(schedule="constant", schedule_day="linear")
    assert "step_factor" not in idle(schedule="constant", schedule_day="step")
    assert {"beta1", "beta2", "epsilon"} <= idle(algorithm="sgd")
    assert "lr_min_day" not in idle(schedule="constant", schedule_day="linear")


def test_a_limit_without_effect_is_not_checked() -> None:
    low = {"optim.schedule": "constant", "optim.lr_max": 1e-5, "data.batch_size": 2}
    assert override(DecoderConfig(), {**low, "data.sampling": "shuffle"}, "x").optim.lr_min == 1e-4
    no_days = {"model.day_layer": "none", "optim.lr_max_day": 5e-5}
    assert override(DecoderConfig(), no_days, "x").optim.lr_max_day == 5e-5


def test_an_equal_schedule_of_the_day_layers_gives_the_same_run() -> None:
    same = override(DecoderConfig(), {"optim.schedule_day": "warmup_cosine"}, "x")
    assert run_id(same, 0, "d") == run_id(DecoderConfig(), 0, "d")


def test_a_file_that_a_result_depends_on_is_part_of_the_identity_of_a_run() -> None:
    plain = DecoderConfig()
    one, other = (with_file(plain, "my/start.pt", 64 * digit) for digit in "01")
    ids = {run_id(config, 0, "data") for config in (plain, one, other)}
    assert len(ids) == 3
    assert identity(one)["files.my/start.pt"] == 64 * "0"
    assert pack_key(one) != pack_key(other)
    assert override(one, {"optim.lr_max": 0.1}).files == one.files


def test_a_configuration_without_files_says_nothing_of_them() -> None:
    assert not {"files", "parts", "extensions"} & DecoderConfig().model_dump(mode="json").keys()
    assert not [path for path in flatten(DecoderConfig()) if path.startswith("files.")]
