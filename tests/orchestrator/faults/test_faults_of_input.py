"""Faults of files that a user gives: each is refused by `run` before anything is trained."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fault_table import SPEC, Ablation, call, row, write_ablation

FIRST, SECOND = "t15.2000.01.01", "t15.2000.01.08"
Change = Callable[[h5py.Group], None]


@pytest.fixture
def ablation(tmp_path: Path, sound: Path) -> Ablation:
    """An ablation on a copy of the recordings."""
    shutil.copytree(sound, tmp_path / "recordings")
    return write_ablation(tmp_path, tmp_path / "recordings")


def refused(ablation: Ablation, code: int, *options: str) -> list[str]:
    """Call `run`; the lines that it ends with, after at most two seconds of CPU."""
    started = time.process_time()
    done = ablation.run(*options)
    assert time.process_time() - started < 2
    assert done.exit_code == code, done.output
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert not list(ablation.results.runs.glob("*"))
    lines = done.stderr.splitlines()
    assert all(len(line) < 1000 for line in lines)
    return lines


def bomb() -> str:
    rows = [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
    return "\n".join(["a0: &a0 [x, x]", *rows])


@row("YAML that asks for too much, or holds what no file of ours holds")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bomb(), "50,000 values"),
        ("a: " + "[" * 10_000, "50 deep"),
        ("seeds: " + "9" * 5_000, "5,000 digits"),
        ("question: " + "x" * 10_000_000, "1,048,576 bytes"),
        ('question: "\\x1b[31m"', "U+001B"),
        ("a: !!python/object/apply:os.system [true]", "tags"),
    ],
    ids=["bomb", "nesting", "digits", "size", "control", "tag"],
)
def test_a_hostile_file_is_one_line(ablation: Ablation, text: str, words: str) -> None:
    ablation.spec.write_text(text)
    (line,) = refused(ablation, 2)
    assert str(ablation.spec) in line and words in line


@row("YAML that asks for too much, or holds what no file of ours holds")
@pytest.mark.parametrize(
    ("field", "value"),
    [("model.n_layers", 100_000_000), ("model.n_units", 2**31), ("augment.smooth_size_bins", 1e11)],
)
def test_a_number_that_no_machine_can_hold_is_one_line(
    ablation: Ablation, field: str, value: float
) -> None:
    ablation.spec.write_text(json.dumps({**SPEC, "set": {field: value}}))
    assert any(field in line for line in refused(ablation, 2))


@row("a mistake in a YAML file")
def test_every_mistake_has_its_line_its_place_and_the_nearest_name(ablation: Ablation) -> None:
    text = json.dumps({**SPEC, "set": {"model.n_unit": 8, "optim.lr_max": "fast"}}, indent=1)
    ablation.spec.write_text(text.replace('"seeds"', '"sseds": [1],\n "seeds"'))
    lines = refused(ablation, 2)
    assert len(lines) == 3
    for words in ("'seeds'", "'model.n_units'", "optim.lr_max"):
        (line,) = (line for line in lines if words in line)
        assert line.startswith(f"{ablation.spec}:")


@row("a mistake in a YAML file")
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"base"', '"name": "again", "base"', "name"),
        ('"optim.lr_max": 0.005', '"optim.lr_max": "1e-3"', "optim.lr_max"),
        ('"eval_every_steps": 10', '"eval_every_steps": true', "train.eval_every_steps"),
    ],
    ids=["duplicate key", "text for a number", "wrong type"],
)
def test_what_yaml_alone_would_take_is_refused(
    ablation: Ablation, old: str, new: str, words: str
) -> None:
    for path in (ablation.spec, ablation.spec.with_name("base.yaml")):
        path.write_text(path.read_text().replace(old, new))
    assert any(words in line for line in refused(ablation, 2))


@row("a name that leads outside its folder")
@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", ".hidden", "a/b", "x" * 65, ""])
def test_a_name_cannot_lead_outside(ablation: Ablation, tmp_path: Path, name: str) -> None:
    ablation.spec.write_text(json.dumps({**SPEC, "name": name}))
    (line,) = refused(ablation, 2)
    assert ": name" in line
    assert not list(tmp_path.glob("**/*evil*"))


def train_file(ablation: Ablation, session: str = FIRST) -> Path:
    return ablation.spec.parent / "recordings" / session / "data_train.hdf5"


def replace_labels(group: h5py.Group, labels: list[int]) -> None:
    del group["seq_class_ids"]
    group["seq_class_ids"] = np.array(labels, np.int32)
    group.attrs["seq_len"] = len(labels)


def put(place: Any, value: float) -> Change:
    def change(group: h5py.Group) -> None:
        group["input_features"][place] = value

    return change


def label(value: int) -> Change:
    def change(group: h5py.Group) -> None:
        group["seq_class_ids"][0] = value

    return change


@row("NaN or infinity in features")
@row("a label outside the classes, or equal to the blank")
@row("a target longer than the output")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put((3, 2), np.nan), "1 values that are NaN or infinite, in feature 2"),
        (put((slice(4), 5), -np.inf), "4 values that are NaN or infinite, in feature 5"),
        (label(41), "labels outside 1 to 40 (the first is 41 at position 0"),
        (label(0), "0 is the CTC blank"),
        (
            lambda group: replace_labels(group, [7] * 400),
            "54 bins give 10 patches, the target needs 799",
        ),
    ],
    ids=["NaN", "infinity", "too large", "blank", "long target"],
)
def test_a_trial_that_is_not_fit_is_named_with_its_file(
    ablation: Ablation, change: Change, words: str
) -> None:
    path = train_file(ablation)
    with h5py.File(path, "r+") as file:
        change(file["trial_0001"])
    said = " ".join(refused(ablation, 3))
    assert words in said
    assert f"{path}: trial_0001" in said or "trial 2: 54 bins" in said


def empty_targets(path: Path, *names: str) -> None:
    with h5py.File(path, "r+") as file:
        for name in names or tuple(file):
            file[name]["seq_class_ids"][...] = 0
            file[name].attrs["seq_len"] = 0


@row("an empty target")
def test_trials_with_an_empty_target_are_counted_and_some_must_have_one(
    ablation: Ablation,
) -> None:
    where = ("--results", str(ablation.results.root), "--no-calibrate")
    empty_targets(train_file(ablation), "trial_0001", "trial_0003")
    planned = call("plan", ablation.spec, *where)
    assert planned.exit_code == 0, planned.stderr
    said = " ".join((planned.stdout + planned.stderr).split())
    assert "2 training and 0 validation trials have an empty target" in said
    for path in train_file(ablation).parents[1].glob("*/data_val.hdf5"):
        empty_targets(path)
    assert "none of 8 trials has a target" in refused(ablation, 3)[-1]


@row("an HDF5 file is cut short or damaged")
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_named(ablation: Ablation, share: float) -> None:
    path = train_file(ablation)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert any(line.startswith(f"{path}: cannot be read") for line in refused(ablation, 3))


@row("an HDF5 file that leads to other files")
def test_a_trial_in_another_file_is_not_read(ablation: Ablation, sound: Path) -> None:
    path = train_file(ablation)
    with h5py.File(path, "r+") as file:
        del file["trial_0001"]
        file["trial_0001"] = h5py.ExternalLink(sound / FIRST / path.name, "trial_0001")
    assert any(str(path) in line and "link" in line for line in refused(ablation, 3))


@row("a session listed twice, or a trial in both splits")
def test_a_session_listed_twice_is_named(ablation: Ablation) -> None:
    ablation.spec.write_text(json.dumps({**SPEC, "set": {"data.sessions": [FIRST, SECOND, FIRST]}}))
    assert any(f"'{FIRST}' is listed 2 times" in line for line in refused(ablation, 3))


@row("a session listed twice, or a trial in both splits")
def test_a_trial_in_both_splits_is_named_with_both_places(ablation: Ablation) -> None:
    path = train_file(ablation)
    shutil.copy(path, path.with_name("data_val.hdf5"))
    said = refused(ablation, 3)
    assert any(
        str(path) in line and "data_val.hdf5" in line and "both splits" in line for line in said
    )


@row("a pickle in the place of recordings")
def test_a_pickle_is_not_opened(ablation: Ablation, tmp_path: Path) -> None:
    """Unpickled, it would make a file."""
    shutil.rmtree(tmp_path / "recordings")
    made = tmp_path / "made"
    content = f"cos\nsystem\n(S'touch {made}'\ntR."
    (tmp_path / "recordings").write_bytes(b"\x80\x02" + content.encode())
    assert any("pickle" in line for line in refused(ablation, 3))
    assert not made.exists()


@row("a folder, a named pipe, a socket or a link stands in the place of a file")
@pytest.mark.timeout(30)
@pytest.mark.parametrize("which", ["spec", "recordings"])
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(ablation: Ablation, which: str) -> None:
    path = ablation.spec if which == "spec" else train_file(ablation)
    path.unlink()
    os.mkfifo(path)
    lines = refused(ablation, 2 if which == "spec" else 3)
    assert any(str(path) in line for line in lines)
