"""`orchestrator.plan.differences`: how two configurations differ, and the ablation of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner
from user_trainer import write_trainer

from decoder.config import DecoderConfig, override, resolve
from decoder.errors import ConfigError
from orchestrator.cli.app import app
from orchestrator.plan.differences import (
    as_ablation,
    find_differences,
    read_configuration,
)
from orchestrator.plan.leave_one_out import FEWEST_SEEDS, write_ablation
from orchestrator.spec.load import load_spec

# The five differences of a re-implementation from the official configuration.
DOCUMENT = {
    "data.batch_size": 48,
    "augment.white_noise_std": 0.25,
    "augment.constant_offset_std": 0.05,
    "optim.lr_max": 0.002,
    "optim.lr_warmup_steps": 2000,
}


def nested(changes: dict[str, object]) -> dict[str, dict[str, object]]:
    sections: dict[str, dict[str, object]] = {}
    for path, value in changes.items():
        section, _, field = path.partition(".")
        sections.setdefault(section, {})[field] = value
    return sections


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The official configuration and the re-implementation."""
    a, b = tmp_path / "official.yaml", tmp_path / "mine.yaml"
    a.write_text("train: {n_steps: 10000}\n")
    b.write_text(yaml.safe_dump({"train": {"n_steps": 10000}, **nested(DOCUMENT)}))
    return a, b


def test_differences_come_with_both_values_and_their_ratio(files: tuple[Path, Path]) -> None:
    one, two = (read_configuration(str(path)) for path in files)
    found = find_differences(one.config, two.config)
    assert {d.parameter: d.b for d in found} == DOCUMENT
    by_name = {d.parameter: d for d in found}
    assert by_name["augment.white_noise_std"].ratio == 0.25
    assert by_name["optim.lr_warmup_steps"].a == 1000
    assert by_name["optim.lr_warmup_steps"].ratio == 2


def test_words_truth_values_and_zeros_have_no_ratio() -> None:
    one = DecoderConfig()
    changes = {
        "loss.ctc_reduction": "mean",
        "augment.smooth": False,
        "optim.weight_decay_day": 0.001,
        "optim.grad_clip": None,
    }
    found = find_differences(one, override(one, changes, ""))
    assert {d.parameter: d.ratio for d in found} == dict.fromkeys(changes)


def test_default_written_out_is_not_a_difference() -> None:
    one = DecoderConfig()
    written = override(one, {"optim.lr_max_day": 0.005, "optim.lr_decay_steps": 120_000}, "")
    assert find_differences(one, written) == ()


def test_value_kept_although_its_default_changes_is_a_difference() -> None:
    one = DecoderConfig()
    two = override(one, {"optim.lr_max": 0.002, "optim.lr_max_day": 0.005}, "")
    found = find_differences(one, two)
    assert {d.parameter for d in found} == {"optim.lr_max", "optim.lr_max_day"}
    reached = override(one, {d.parameter: d.b for d in found}, "")
    assert resolve(reached) == resolve(two)


def test_the_ablation_leaves_each_difference_out_and_reaches_both_ends(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = (read_configuration(str(path)) for path in files)
    found = find_differences(one.config, two.config)
    folder = tmp_path / "deeper" / "down"
    folder.mkdir(parents=True)
    path = folder / "which.yaml"
    path.write_text(as_ablation("which", one, two, found, folder))
    loaded = load_spec(path)
    arms = {arm.arm_id: arm.config for arm in loaded.arms}
    assert arms["base"] == one.config
    assert arms["all"] == two.config
    assert len(arms) == 5 + 2
    assert arms["all-lr_max"] == override(two.config, {"optim.lr_max": 0.005}, "")
    claims = loaded.spec.hypotheses.values()
    assert [claim.contrast.factor for claim in claims] == list(loaded.spec.factors)
    assert {(claim.outcome, claim.margin) for claim in claims} == {("per", 0.02)}
    assert loaded.spec.seeds == tuple(range(1, FEWEST_SEEDS + 1))


@pytest.mark.parametrize("n", [1, 2])
def test_few_differences_take_six_seeds_and_stay_decidable(
    n: int, files: tuple[Path, Path], tmp_path: Path
) -> None:
    one = read_configuration(str(files[0]))
    b = tmp_path / "few.yaml"
    kept = dict(list(DOCUMENT.items())[:n])
    b.write_text(yaml.safe_dump({"train": {"n_steps": 10000}, **nested(kept)}))
    two = read_configuration(str(b))
    path = tmp_path / "which.yaml"
    path.write_text(
        as_ablation("which", one, two, find_differences(one.config, two.config), tmp_path)
    )
    assert len(load_spec(path).spec.seeds) == FEWEST_SEEDS


OFFICIAL = {
    "lr_max": 0.005,
    "lr_min": 0.0001,
    "epsilon": 0.1,
    "model": {"n_units": 768, "n_layers": 5},
    "dataset": {"batch_size": 64},
}


def test_configurations_of_an_official_trainer_are_translated_and_compared(tmp_path: Path) -> None:
    files = []
    for name, change in (("a", {}), ("b", {"lr_max": 0.002})):
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump({**OFFICIAL, **change}))
    one, two = (read_configuration(str(file)) for file in files)
    (found,) = find_differences(one.config, two.config)
    assert (found.parameter, found.a, found.b) == ("optim.lr_max", 0.005, 0.002)
    with pytest.raises(ConfigError, match=r"import-config .*a\.yaml --output"):
        as_ablation("which", one, two, [found], tmp_path)


def test_foreign_files_are_compared_as_import_config_reads_them(tmp_path: Path) -> None:
    a, b = tmp_path / "rnn_args.yaml", tmp_path / "args.json"
    a.write_text("num_training_batches: 60\nlr_decay_steps: ${num_training_batches}\nrun_name: x")
    b.write_text('{"num_training_batches": 80, "lr_decay_steps": 80.0, "run_name": "y"}')
    one, two = read_configuration(str(a)), read_configuration(str(b))
    found = {d.parameter: (d.a, d.b) for d in find_differences(one.config, two.config)}
    assert found == {"train.n_steps": (60, 80), "optim.lr_decay_steps": (60, 80)}
    b.write_text('{"num_training_batches": 80, "use_diphones": true}')
    with pytest.raises(ConfigError, match="use_diphones"):
        read_configuration(str(b))


def test_a_mistake_in_a_configuration_of_ours_is_no_official_file(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text("optim: {lr_mx: 0.005}\n")
    with pytest.raises(ConfigError, match="did you mean 'lr_max'"):
        read_configuration(str(file))


def test_arms_of_an_ablation_are_compared_by_name(
    write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_spec({"set": {"optim.epsilon": 0.5}})
    one, two = read_configuration(f"{path}:official+low"), read_configuration(f"{path}:weak+high")
    found = find_differences(one.config, two.config)
    assert {d.parameter: (d.a, d.b) for d in found} == {
        "augment.white_noise_std": (1.0, 0.25),
        "optim.lr_max": (0.002, 0.005),
    }
    written = tmp_path / "which.yaml"
    written.write_text(as_ablation("which", one, two, found, tmp_path))
    arms = {arm.arm_id: arm.config for arm in load_spec(written).arms}
    assert (arms["base"], arms["all"]) == (one.config, two.config)


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("{spec}:weak+hgh", ("{spec}: ", "'weak+hgh'", "'weak+high'")),
        ("{spec}", ("{spec}: ", "'{spec}:official+high'", "weak+low")),
        ("{spec}x", ("{spec}x: ", "No such file")),
    ],
)
def test_unknown_configuration_is_explained(
    write_spec: Callable[..., Path], name: str, texts: tuple[str, ...]
) -> None:
    spec = write_spec()
    with pytest.raises(ConfigError) as caught:
        read_configuration(name.format(spec=spec))
    (problem,) = caught.value.problems
    for text in texts:
        assert text.format(spec=spec) in problem


def test_the_command_prints_a_table_or_json_and_writes_the_ablation(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    def call(*more: str) -> str:
        result = CliRunner().invoke(app, ["diff", *map(str, files), *more])
        assert result.exit_code == 0, result.output
        return result.stdout

    text = call()
    assert "augment.white_noise_std" in text and "0.25" in text and "5 differences" in text
    document = json.loads(call("--json"))
    assert document["differences"][0] == {
        "parameter": "data.batch_size", "a": 64, "b": 48, "ratio": 0.75,
    }  # fmt: skip
    output = tmp_path / "which.yaml"
    call("--as-ablation", "which", "--output", str(output))
    assert len(load_spec(output).arms) == 7
    again = CliRunner().invoke(
        app, ["diff", *map(str, files), "--as-ablation", "which", "--output", str(output)]
    )
    assert again.exit_code == 2 and str(output) in again.stderr


def test_equal_configurations_are_refused(files: tuple[Path, Path]) -> None:
    result = CliRunner().invoke(app, ["diff", str(files[0]), str(files[0]), "--as-ablation", "x"])
    assert result.exit_code == 2
    assert str(files[0]) in result.stderr and result.stdout == ""


def test_difference_without_effect_beside_the_others_is_listed_and_left_out(tmp_path: Path) -> None:
    """Between transformer layers there is no recurrent dropout to take out again."""
    changes = {"model.architecture": "transformer", "model.rnn_dropout": 0.1, "optim.beta1": 0.8}
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for path, document in zip(paths, ({}, nested(changes)), strict=True):
        path.write_text(yaml.safe_dump(document))
    one, two = (read_configuration(str(path)) for path in paths)
    text = as_ablation("n", one, two, find_differences(one.config, two.config), tmp_path)
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert "model.rnn_dropout" in comments[-1] and "model.rnn_dropout" not in comments[0]
    write_ablation(tmp_path / "n.yaml", text)
    assert set(load_spec(tmp_path / "n.yaml").spec.factors) == {"architecture", "beta1"}


def test_arms_of_a_users_trainer_differ_in_its_settings(tmp_path: Path) -> None:
    file = write_trainer(tmp_path)
    one, two = (read_configuration(f"{file}:{arm}") for arm in ("high+gru", "low+cnn"))
    found = {d.parameter: (d.a, d.b, d.ratio) for d in find_differences(one.config, two.config)}
    assert found == {"lr": (0.01, 0.005, 0.5), "kind": ("gru", "cnn", None)}
    with pytest.raises(ConfigError, match="starts from a configuration of our decoder"):
        as_ablation("again", one, two, find_differences(one.config, two.config), tmp_path)


def test_a_users_trainer_is_not_compared_with_our_decoder(tmp_path: Path) -> None:
    theirs = read_configuration(f"{write_trainer(tmp_path)}:high+gru")
    with pytest.raises(ConfigError, match="two arms of one kind"):
        find_differences(theirs.config, DecoderConfig())


def test_changed_code_is_a_difference_of_two_trainers(tmp_path: Path) -> None:
    file = write_trainer(tmp_path)
    one = read_configuration(f"{file}:repeat").config
    (tmp_path / "theirs" / "train.py").write_text("pass\n")
    two = read_configuration(f"{file}:repeat").config
    assert [d.parameter for d in find_differences(one, two)] == ["code:train.py"]
