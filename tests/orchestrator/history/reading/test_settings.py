"""`orchestrator.history.reading.settings`: which file counts, every format, and the seed."""

from pathlib import Path
from typing import Any

import pytest
from imported_runs import SETTINGS, by_name, mentions, only_run, per_rows, write_files

from orchestrator.history.reading.read_runs import read_group


def test_a_file_named_used_counts_and_the_disagreement_is_noted(tmp_path: Path) -> None:
    run = only_run(
        write_files(
            tmp_path / "run",
            {
                "config.yaml": "lr_max: 0.005\nseed: 3\n",
                "config_used.yaml": SETTINGS,
                "metrics.jsonl": per_rows(1, 0.5),
            },
        )
    )
    assert run.settings["lr_max"] == 0.004
    assert run.settings_from == "config_used.yaml"
    assert mentions(run.notes, "config_used.yaml", "config.yaml", "lr_max", "0.004", "0.005")


def test_settings_in_parts_that_share_no_key_are_joined(tmp_path: Path) -> None:
    files = {"model_config.json": '{"n_units": 64}', "train_config.toml": "lr_max = 1e-3\n"}
    run = only_run(write_files(tmp_path / "run", {**files, "metrics.csv": "step,per\n1,0.5\n"}))
    assert run.settings == {"n_units": 64, "lr_max": 0.001}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "wandb/run-20250301_101010-ab/files/config.yaml",
            "lr: {value: 1e-3}\n_wandb: {value: {}}\nbs: {value: 2}\n",
            {"lr": 0.001, "bs": 2},
        ),
        (".hydra/config.yaml", "optim: {lr: 1e-3}\n", {"optim.lr": 0.001}),
        (
            "hparams.yaml",
            "a: !!python/tuple [1, 2]\nb: !!python/object:argparse.Namespace {c: 1}\n",
            {"a": [1, 2], "b.c": 1},
        ),
        (
            "config.json",
            '\ufeff{"lr": 1, "on": true, "none": null}',
            {"lr": 1, "on": True, "none": None},
        ),
        ("run12_baseline.yaml", "lr: 1\nbatch_size: 2\nx: 3\n", {"lr": 1, "batch_size": 2, "x": 3}),
    ],
)
def test_settings_of_common_tools_are_read(
    tmp_path: Path, name: str, content: str, expected: dict[str, Any]
) -> None:
    run = only_run(
        write_files(tmp_path / "run", {name: content, "metrics.jsonl": per_rows(1, 0.5)})
    )
    assert run.settings == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: [1, 2\nb: 3", "line 1: "),
        (b"lr: 1\nlr: 2\n", "'lr'"),
        (b"\x00\x01", "YAML"),
        (b"", "empty"),
        (b"- 1\n- 2\n", "list"),
        (
            b"a: &a [[x],[x]]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\n"
            b"d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\n"
            b"f: [*e,*e,*e,*e,*e]\n",
            "50,000",
        ),
    ],
)
def test_settings_that_cannot_be_read_are_noted_with_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    run = only_run(
        write_files(tmp_path / "run", {"config.yaml": content, "metrics.jsonl": per_rows(1, 0.5)})
    )
    (note,) = [note for note in run.files if note.path == "config.yaml"]
    assert note.role == "unreadable"
    assert reason in note.note
    assert run.settings == {} and run.settings_from == ""


def test_repeats_take_the_settings_above_them_and_the_seed_in_their_name(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        f"sweep/seed{s}/m.jsonl": per_rows(1, 0.5 + s / 100) for s in (1, 2)
    }
    group = read_group(write_files(tmp_path, {"sweep/config.yaml": SETTINGS, **files}))
    assert [(run.name, run.seed) for run in group.runs] == [("sweep/seed1", 1), ("sweep/seed2", 2)]
    for run in group.runs:
        assert (run.settings["lr_max"], run.settings_from) == (0.004, "sweep/config.yaml")
        assert mentions(run.notes, "sweep/config.yaml")


def test_runs_that_are_no_repeats_do_not_take_the_settings_above_them(tmp_path: Path) -> None:
    files = {"exp/config.yaml": SETTINGS, "exp/small/m.jsonl": per_rows(1, 0.5)}
    group = read_group(write_files(tmp_path, files))
    assert by_name(group)["exp/small"].settings == {}
    assert by_name(group)["exp"].settings["lr_max"] == 0.004


def test_interpolations_are_followed_and_those_of_a_machine_stay(tmp_path: Path) -> None:
    text = (
        "n: 300\nmodel: {units: 64, twice: '${.units}'}\nlr_decay_steps: ${n}\n"
        "dataset_dir: ${oc.env:NOWHERE_SET}/hdf5\nlost: ${no.such.key}\n"
    )
    run = only_run(write_files(tmp_path / "run", {"args.yaml": text, "m.jsonl": per_rows(1, 0.5)}))
    assert (run.settings["lr_decay_steps"], run.settings["model.twice"]) == (300, 64)
    assert run.settings["dataset_dir"] == "${oc.env:NOWHERE_SET}/hdf5"
    assert run.settings["lost"] == "${no.such.key}"


def test_a_setting_that_only_another_machine_knows_is_no_official_value(tmp_path: Path) -> None:
    settings = SETTINGS.replace("lr_max: 0.004", "lr_max: ${oc.env:NOWHERE_SET}")
    assert settings != SETTINGS
    settings += "\ndataset: {dataset_dir: '${oc.env:NOWHERE_SET}/hdf5'}\n"
    run = only_run(
        write_files(tmp_path / "run", {"args.yaml": settings, "m.jsonl": per_rows(1, 0.5)})
    )
    assert "lr_max" in run.mapped.problem and run.mapped.config == {}
