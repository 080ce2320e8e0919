"""`orchestrator.report.verdict_rows`: the table of verdicts, read again."""

import os
from pathlib import Path

import pandas as pd
import pytest

from decoder.errors import StorageError
from orchestrator.report.verdict_rows import decided_since, read_verdicts


def test_rows_are_read_with_numbers_that_json_can_hold(tmp_path: Path) -> None:
    row = {"hypothesis": "h", "verdict": "refuted", "effect": float("inf"), "arms": '[{"n": 3}]'}
    pd.DataFrame([row]).to_parquet(tmp_path / "verdicts.parquet")
    assert read_verdicts(tmp_path) == [{**row, "effect": None, "arms": [{"n": 3}]}]


def test_without_a_table_there_are_no_rows(tmp_path: Path) -> None:
    assert read_verdicts(tmp_path) == []


@pytest.mark.parametrize("kind", ["damaged", "pipe", "folder"])
def test_what_is_no_table_is_a_storage_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "verdicts.parquet"
    if kind == "damaged":
        path.write_bytes(b"PAR1 and no more")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(StorageError, match="verdicts.parquet"):
        read_verdicts(tmp_path)


def test_claims_are_new_when_their_word_is_and_says_something() -> None:
    def rows(**words: str) -> list[dict[str, str]]:
        return [{"hypothesis": name, "verdict": word} for name, word in words.items()]

    before = rows(a="supported", b="inconclusive", c="refuted")
    now = rows(a="supported", b="refuted", c="inconclusive", d="supported", e="inconclusive")
    assert decided_since(before, now) == rows(b="refuted", d="supported")
