"""`orchestrator.plan` of a user's trainer: runs, packs, contrasts, recordings; nothing executed."""

from pathlib import Path
from typing import Any

import pytest
from user_trainer import write_trainer

from decoder.errors import ConfigError, DataError
from orchestrator.plan.document import PlanDocument, plan_document
from orchestrator.plan.foreign_data import SMALL_BYTES
from orchestrator.plan.packs import packs_to_train
from orchestrator.plan.plan import Plan, make_plan
from orchestrator.plan.recordings import Recordings, prepare_data
from orchestrator.spec.load import load_spec


def recordings(folder: Path, changes: dict[str, Any] | None = None) -> dict[str, Recordings]:
    loaded = load_spec(write_trainer(folder, changes))
    return prepare_data(loaded.arms, folder / "datasets", lambda text: None)


def plan_of(folder: Path, changes: dict[str, Any] | None = None) -> Plan:
    loaded = load_spec(write_trainer(folder, changes))
    data = prepare_data(loaded.arms, folder / "datasets", lambda text: None)
    return make_plan(loaded, data, n_workers=2)


def ids(plan: Plan) -> set[str]:
    return set(plan.distinct)


def test_each_run_of_a_command_is_a_pack_and_the_base_is_trained_twice(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert len(plan.runs) == len(ids(plan)) == 5 * 3
    assert [len(pack.runs) for pack in packs_to_train(plan.packs, ())] == [1] * 15
    assert len({pack.shape for pack in plan.packs}) == 1


def test_nothing_of_the_trainer_is_executed(tmp_path: Path) -> None:
    plan_of(tmp_path)
    assert not (tmp_path / "theirs" / "executed").exists()


def test_a_contrast_is_proven_on_the_keys_as_written(tmp_path: Path) -> None:
    (proof,) = plan_of(tmp_path).contrasts
    assert proof.changed == {"lr": (0.01, 0.005), "lr_min": (0.01, 0.005)}


def test_arms_that_differ_in_more_than_the_factor_are_refused(tmp_path: Path) -> None:
    design = {
        "design": "arms",
        "arms": {"one": {"rate": "high", "net": "gru"}, "two": {"rate": "low", "net": "cnn"}},
        "hypotheses/lower/where": {},
    }
    with pytest.raises(ConfigError):
        plan_of(tmp_path, design)


def test_changed_code_makes_other_runs_and_a_moved_trainer_does_not(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    before = ids(plan_of(one))
    assert ids(plan_of(two)) == before
    file = write_trainer(two)
    (two / "theirs" / "train.py").write_text("pass\n")
    loaded = load_spec(file)
    data = prepare_data(loaded.arms, two, lambda text: None)
    assert ids(make_plan(loaded, data, 2)).isdisjoint(before)


def test_recordings_are_identified_by_names_sizes_and_small_contents(tmp_path: Path) -> None:
    first = recordings(tmp_path)["repeat"]
    assert (first.stated, first.remarks) == ("data: 1 file, 4 bytes", ())
    data = tmp_path / "data" / "trials.bin"

    def now() -> str:
        loaded = load_spec(tmp_path / "foreign.yaml")
        return prepare_data(loaded.arms, tmp_path, lambda text: None)["repeat"].fingerprint

    data.write_bytes(b"0124")
    changed = now()
    data.rename(data.with_name("other.bin"))
    renamed = now()
    large = bytes(SMALL_BYTES + 1)
    data.write_bytes(large)
    grown = now()
    data.write_bytes(b"1" + large[1:])
    assert len({first.fingerprint, changed, renamed, grown}) == 4
    assert now() == grown


def test_recordings_may_be_stated_and_are_missed_where_nothing_is(tmp_path: Path) -> None:
    stated = recordings(tmp_path, {"trainer/data": ["text: release 2"]})["repeat"]
    assert (stated.path, stated.stated, stated.remarks) == ("release 2", "release 2", ())
    slash = plan_document(plan_of(tmp_path, {"trainer/data": ["text: T15/first release"]}))
    assert slash.data_name == "T15/first release"
    assert "recordings" in plan_document(plan_of(tmp_path, {"trainer/data": []})).data_name
    unknown = recordings(tmp_path, {"trainer/data": []})["repeat"]
    assert unknown.fingerprint != stated.fingerprint
    assert len(unknown.remarks) == 1


def test_recordings_that_are_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="text:release 2"):
        recordings(tmp_path, {"trainer/data": ["release 2"]})
    with pytest.raises(DataError, match="does not exist"):
        recordings(tmp_path, {"set": {"data_dir": "../nowhere"}})


def test_a_key_may_hold_several_paths(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    changes = {"trainer/data": ["sizes"], "set": {"sizes": ["../data", "../more"]}}
    with pytest.raises(ConfigError, match="list of paths"):
        recordings(tmp_path, changes)
    changes["trainer/data"] = ["data_dir", "../more"]
    several = recordings(tmp_path, changes)["repeat"]
    assert several.stated == "data: 1 file, 4 bytes; more: 0 files, 0 bytes"


def test_recordings_may_be_varied(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    found = recordings(tmp_path, {"factors/rate/low": {"data_dir": "../other"}})
    assert len({one.fingerprint for one in found.values()}) == 2


def test_the_plan_document_is_read_back_without_the_trainer(tmp_path: Path) -> None:
    document = plan_document(plan_of(tmp_path))
    back = PlanDocument.model_validate_json(document.model_dump_json(by_alias=True))
    assert back == document
    assert back.spec.trainer is not None and back.spec.trainer.pass_ == "file"
    assert back.dataset.stated == "data: 1 file, 4 bytes"
