"""`orchestrator.store.plan_file`: a plan is read as it was written, or not at all."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from decoder.errors import StorageError
from orchestrator.cli.run_view import status_rows
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan, write_plan


def test_a_plan_comes_back_with_and_without_its_checksum(store: Results) -> None:
    path = store.plan("two")
    plan = read_plan(store, "two")
    document = json.loads(path.read_bytes())
    assert list(document)[-1] == "plan_sha256"
    del document["plan_sha256"]
    path.write_text(json.dumps(document))  # as earlier versions wrote it
    assert read_plan(store, "two") == plan
    write_plan(store, plan)
    assert read_plan(store, "two") == plan and "plan_sha256" in path.read_text()


@pytest.mark.parametrize(
    ("old", "new"),
    [('"alpha": 0.05', '"alpha": 0.06'), ('"\n}\n', '" \n}\n')],
)
def test_an_altered_plan_is_not_used(store: Results, old: str, new: str) -> None:
    path = store.plan("two")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(StorageError, match=r"plan\.json"):
        read_plan(store, "two")


def test_status_shows_the_other_ablations_beside_a_damaged_plan(
    store: Results, tmp_path: Path, build: Any, two_arm_spec: dict[str, Any], truth: Any
) -> None:
    made = build({**two_arm_spec, "name": "more"}, lambda *_: truth())
    write_plan(store, made.plan)
    store.plan("two").unlink()
    os.mkfifo(store.plan("two"))
    said: list[str] = []
    assert [row["name"] for row in status_rows(store, None, said.append)] == ["more"]
    assert len(said) == 1 and "a named pipe" in said[0]
    with pytest.raises(StorageError):
        status_rows(store, "two", said.append)
