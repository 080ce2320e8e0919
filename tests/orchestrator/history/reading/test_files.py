"""`orchestrator.history.reading.files`: the kind of a file by its name."""

from pathlib import Path

import pytest

from orchestrator.history.reading.files import run_file


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("args", "pickle", ""),
        ("Config.YML", "yaml", ""),
        ("vocab.json", "other", "neither settings nor a learning curve"),
        ("vocab.csv", "csv", ""),
        ("final_checkpoint_batch_900", "refused", "weights"),
        ("trainingStats", "stats", ""),
        ("events.out.tfevents.17.log", "other", "TensorBoard"),
        ("training_log.1", "log", ""),
        ("readme.txt", "other", "neither settings nor a learning curve"),
        ("figure.png", "other", "pictures"),
        ("cells.xlsx", "other", ".xlsx"),
    ],
)
def test_the_kind_of_a_file_follows_from_its_name(
    tmp_path: Path, name: str, kind: str, why: str
) -> None:
    (tmp_path / name).touch()
    file = run_file(tmp_path / name, tmp_path)
    assert file is not None
    assert file.kind == kind
    assert why in file.why and bool(why) == bool(file.why)
