"""`orchestrator.spec.load` of files with a trainer: its keys, its arms, and every mistake."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from user_trainer import write_trainer

from decoder.errors import ConfigError
from orchestrator.spec.configuration import CommandConfig, flatten
from orchestrator.spec.load import Loaded, load_spec
from orchestrator.spec.trainer_base import hash_code


def load(folder: Path, changes: dict[str, Any] | None = None) -> Loaded:
    return load_spec(write_trainer(folder, changes))


def problems(folder: Path, changes: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, changes)
    return [text.partition(": ")[2] for text in caught.value.problems]


def test_factors_change_keys_of_the_trainers_own_configuration(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"set": {"model.depth": 3}})
    settings = {arm.arm_id: flatten(arm.config) for arm in loaded.arms}
    low = settings["low+gru"]
    assert (low["lr"], low["lr_min"], low["model.depth"]) == (0.005, 0.005, 3)
    assert "seed" not in low and "out.dir" not in low
    assert {arm.config.trainer.cwd for arm in loaded.arms} == {str(tmp_path / "theirs")}  # type: ignore[union-attr]


def test_the_base_is_repeated_with_the_same_seeds(tmp_path: Path) -> None:
    again = load(tmp_path).arms[-1]
    assert (again.arm_id, again.replicate, dict(again.levels)) == (
        *("repeat", 1),
        {"rate": "high", "net": "gru"},
    )
    assert not any(arm.replicate for arm in load(tmp_path, {"trainer/repeat": False}).arms)


def test_a_repeat_of_the_file_itself_is_enough(tmp_path: Path) -> None:
    own = {"extra_arms": {"mine": {"replicate": 2}}}
    assert [arm.arm_id for arm in load(tmp_path, own).arms if arm.replicate] == ["mine"]
    taken = {"extra_arms": {"repeat": {"set": {"lr": 0.1}}}}
    assert [arm.arm_id for arm in load(tmp_path, taken).arms if arm.replicate] == ["repeat-2"]


@pytest.mark.parametrize(
    ("changes", "where", "says"),
    [
        ({"trainer/cwd": "nowhere"}, "trainer.cwd", "not a folder"),
        ({"trainer/base": "arg.yaml"}, "trainer.base", "did you mean 'args.yaml'"),
        ({"trainer/code": ["*.txt"]}, "trainer.code", "matches no file"),
        ({"trainer/code": ["/etc/*"]}, "trainer.code", "relative"),
        ({"trainer/seed": ["sed"]}, "trainer.seed", "did you mean 'seed'"),
        ({"trainer/outputs": {"out.di": "{out}"}}, "trainer.outputs", "did you mean 'out.dir'"),
        ({"trainer/steps": "epochs"}, "trainer.steps", "new_keys"),
        ({"trainer/command": ["a", {"config": None}]}, "trainer.command.1", '"{config}"'),
        ({"trainer/new_keys": ["lr"]}, "trainer.new_keys", "leave it out"),
        ({"trainer/command": ["python", "train.py"]}, "trainer", "{config}"),
        ({"trainer/unknown": 1}, "trainer.unknown", "unknown key"),
        ({"trainer/cmd": ["x"]}, "trainer.cmd", "write command"),
        ({"trainer/command": "python a.py {config}"}, "trainer.command", '"python", "a.py"'),
        ({"trainer/seed": "seed"}, "trainer.seed", "write [seed]"),
        ({"base": "base.yaml"}, "trainer", "beside 'base'"),
        ({"set": {"model.n_unit": 3}}, "set", "did you mean 'model.n_units'"),
        ({"set": {"model": 3}}, "set", "keys of its own"),
        ({"set": {"seed": 3}}, "set", "gets the seed"),
        ({"set": {"out.dir": "x"}}, "set", "run's own"),
        ({"set": {"kind": 3}}, "set", "must be text"),
        ({"set": {"amp": 1}}, "set", "must be true or false"),
        ({"set": {"sizes": 4}}, "set", "must be a list"),
        ({"set": {"lr": "fast"}}, "set", "must be a number"),
        ({"set": {"kind": "${knd}"}}, "set", "knd"),
        ({"set": {"lr": float("inf")}}, "set", "must be finite"),
        ({"factors/net/cnn": {"kin": "cnn"}}, "factors.net.cnn", "did you mean 'kind'"),
        ({"hypotheses/lower/outcome": "val_loss"}, "hypotheses.lower.outcome", "trainer.metrics"),
        ({"hypotheses/lower/outcome": "collapsed"}, "hypotheses.lower.outcome", "n_distinct"),
        ({"criteria": {"c": {"metric": "wer", "below": 0.2}}}, "criteria.c.metric", "per"),
    ],
)
def test_each_mistake_is_named_with_its_place(
    tmp_path: Path, changes: dict[str, Any], where: str, says: str
) -> None:
    (found,) = problems(tmp_path, changes)
    assert found.startswith(f"{where}: ")
    assert says in found


def test_a_malformed_trainer_hides_no_other_mistake_and_causes_none(tmp_path: Path) -> None:
    found = problems(tmp_path, {"trainer/course": ..., "alpha": 0.9, "set": {"lr": 0.1}})
    assert sorted(text.split(":")[0] for text in found) == ["alpha", "trainer.course"]


def test_values_are_of_the_kind_of_the_base_and_null_fits_everywhere(tmp_path: Path) -> None:
    changes = {"lr": 1, "n_batches": 2.5, "dropout": 0.4, "kind": None, "lr_min": "${n_batches}"}
    settings = flatten(load(tmp_path, {"set": changes}).arms[0].config)
    assert (settings["lr"], type(settings["lr"])) == (1.0, float)
    assert (settings["n_batches"], settings["dropout"], settings["kind"]) == (2.5, 0.4, None)
    assert settings["lr_min"] == 2.5


def test_a_key_that_only_the_trainer_knows_must_be_named(tmp_path: Path) -> None:
    changes = {"trainer/new_keys": ["warmup"], "factors/rate/low": {"warmup": 5}}
    arms = {arm.arm_id: flatten(arm.config) for arm in load(tmp_path, changes).arms}
    assert arms["low+gru"]["warmup"] == 5
    assert "warmup" not in arms["high+gru"]


def test_metrics_of_any_name_may_be_claimed_about(tmp_path: Path) -> None:
    changes = {
        "trainer/metrics": {"per": "PER", "beam_score": {"name": "Beam", "unit": "percent"}},
        "hypotheses/lower/outcome": "beam_score",
        "prior": {"beam_score": 0.1},
        "criteria": {"low": {"metric": "beam_score", "below": 3.0}},
    }
    assert load(tmp_path, changes).spec.hypotheses["lower"].outcome == "beam_score"


def test_code_has_a_hash_for_each_file_and_no_caches(tmp_path: Path) -> None:
    config = load(tmp_path).base
    assert isinstance(config, CommandConfig)
    (tmp_path / "theirs" / "__pycache__").mkdir()
    (tmp_path / "theirs" / "__pycache__" / "a.py").touch()
    (tmp_path / "utils.py").write_text("pass\n")
    code = hash_code(tmp_path / "theirs", ("**/*.py", "../*.py"))
    assert list(code) == ["../utils.py", "train.py"]
    assert code["train.py"] == config.code["train.py"]


def test_the_commit_of_the_code_is_known_and_whether_it_was_changed(tmp_path: Path) -> None:
    write_trainer(tmp_path)
    theirs = tmp_path / "theirs"
    assert commit(theirs.parent) == (None, None)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=theirs, check=True)
    first, dirty = commit(theirs.parent)
    assert first is not None and len(first) == 40 and dirty is False
    (theirs / "train.py").write_text("pass\n")
    config = load_spec(theirs.parent / "foreign.yaml").base
    assert isinstance(config, CommandConfig)
    assert (config.commit, config.dirty) == (first, True)


def commit(folder: Path) -> tuple[str | None, bool | None]:
    config = load(folder).base
    assert isinstance(config, CommandConfig)
    return config.commit, config.dirty
