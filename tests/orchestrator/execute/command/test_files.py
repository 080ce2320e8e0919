"""`orchestrator.execute.command.files`: words, values as text, and the working copy."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_command import command_config, write_trainer

from decoder.errors import ConfigError
from orchestrator.execute.command import files
from orchestrator.execute.command.files import RunFiles, copy_folder, flag_text, hydra_text


@pytest.mark.parametrize(
    ("value", "flag", "hydra"),
    [
        (1, "1", "1"),
        (1e-05, "1e-05", "1e-05"),
        (True, "true", "true"),
        (None, "null", "null"),
        ("adam", "adam", "adam"),
        ("1", "1", "'1'"),
        ("true", "true", "'true'"),
        ("a b=c,d", "a b=c,d", "'a b=c,d'"),
        ("it's", "it's", r"'it\'s'"),
        ("back\\", "back\\", r"'back\\'"),
        ("/mnt/data-1", "/mnt/data-1", "/mnt/data-1"),
        ("", "", "''"),
        ([1, "a"], '[1, "a"]', "[1,a]"),
        ({"a": 1, "b": [None]}, '{"a": 1, "b": [null]}', "{a:1,b:[null]}"),
    ],
)
def test_values_as_flags_and_as_overrides(value: Any, flag: str, hydra: str) -> None:
    assert (flag_text(value), hydra_text(value)) == (flag, hydra)


def files_of(tmp_path: Path, section: dict[str, Any], **settings: Any) -> RunFiles:
    folder = write_trainer(tmp_path / "trainer")
    return RunFiles("b" * 16, command_config(folder, section, **settings), 4, tmp_path / "run")


def test_the_settings_file_is_of_the_kind_of_the_base(tmp_path: Path) -> None:
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "base.yaml").write_text("lr: 1")
    section = {"base": "base.yaml", "outputs": {"out": "{out}/here"}}
    of_run = files_of(tmp_path, section, **{"model.sizes": [1, 2], "lr": 1e-05})
    of_run.start_afresh()
    document = yaml.safe_load(of_run.settings_file.read_text())
    assert of_run.settings_file == tmp_path / "run" / "config.yaml"
    assert document["model"] == {"sizes": [1, 2]} and document["lr"] == 1e-05
    assert document["seed"] == 4 and document["out"] == f"{of_run.out}/here"
    assert of_run.out.is_dir()


def test_a_trainer_that_is_told_the_very_folder_makes_it_itself(tmp_path: Path) -> None:
    of_run = files_of(tmp_path, {})
    of_run.out.mkdir(parents=True)
    (of_run.out / "old").write_text("from an earlier attempt")
    of_run.start_afresh()
    assert not of_run.out.exists()


def test_a_second_command_continues(tmp_path: Path) -> None:
    of_run = files_of(tmp_path, {"resume": ["go", "--from={out}", "{run_id}"]})
    assert of_run.words(resumes=True) == ["go", f"--from={of_run.out}", "b" * 16]
    assert of_run.words(resumes=False)[1:] == ["train.py", str(tmp_path / "run" / "config.json")]


def test_python_is_found_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    of_run = files_of(tmp_path, {"command": ["python", "{config}"]})
    assert Path(of_run.words(resumes=False)[0]).is_file()


def test_a_copy_leaves_out_what_is_no_code_and_links_what_is_large(tmp_path: Path) -> None:
    source = tmp_path / "lab" / "trainer"
    (source / ".git").mkdir(parents=True)
    (source / ".git" / "HEAD").write_text("x")
    (source / "train.py").write_bytes(b"#" * (files._LARGE + 1))
    (source / "weights.pt").write_bytes(b"#" * (files._LARGE + 1))
    (source / "note.txt").write_text("small")
    (source / "gone").symlink_to("/nowhere")
    (tmp_path / "lab" / "data").mkdir()
    target = tmp_path / "run" / "work" / "trainer"
    copy_folder(source, target, {"train.py": "0"})
    assert sorted(path.name for path in target.iterdir()) == [
        "gone",
        "note.txt",
        "train.py",
        "weights.pt",
    ]
    assert [(target / n).is_symlink() for n in ("train.py", "note.txt")] == [False, False]
    assert (target / "weights.pt").resolve() == source / "weights.pt"
    assert (target / ".." / "data").resolve() == tmp_path / "lab" / "data"


def test_a_copy_leaves_out_the_results_that_it_lies_in(tmp_path: Path) -> None:
    source = write_trainer(tmp_path / "trainer")
    target = source / "results" / "runs" / "a" / "work" / "trainer"
    copy_folder(source, target, {})
    assert sorted(path.name for path in target.iterdir()) == ["base.json", "train.py"]


def test_a_folder_of_too_many_files_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_MOST_COPIED", 2)
    source = write_trainer(tmp_path / "trainer")
    copy_folder(source, tmp_path / "first" / "trainer", {})
    (source / "third").write_text("")
    with pytest.raises(ConfigError, match="trainer.copy"):
        copy_folder(source, tmp_path / "second" / "trainer", {})
