"""Reads the table of verdicts that the last report of an ablation left."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from decoder.errors import StorageError
from decoder.regular import read_regular
from orchestrator.plan.looks import DECIDED
from orchestrator.terminal import finite

# A row of `orchestrator.report.verdict_table.verdicts_table`, as JSON has it.
VerdictRow = dict[str, Any]
_NESTED = ("arms", "differences", "caveats")
_MOST_BYTES = 2**26


def read_verdicts(folder: Path) -> list[VerdictRow]:
    """The rows of the table of verdicts; empty if the ablation has no hypotheses.

    A number that is unknown or infinite is None. ``arms`` holds the counts of each arm compared,
    ``differences`` the effect per seed.

    Raises:
        StorageError: the table cannot be read.
    """
    path = folder / "verdicts.parquet"
    try:
        file = pq.ParquetFile(io.BytesIO(read_regular(path, _MOST_BYTES)), pre_buffer=False)
        rows = file.read(use_threads=False).to_pylist()
        return [
            {n: json.loads(value) if n in _NESTED else finite(value) for n, value in row.items()}
            for row in rows
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        raise StorageError(
            f"{path}: cannot be read ({error}); `report` of the ablation writes it again"
        ) from None


def decided_since(before: list[VerdictRow], now: list[VerdictRow]) -> list[VerdictRow]:
    """The rows of claims that are supported or refuted now, and had another verdict before."""
    words = {row["hypothesis"]: row["verdict"] for row in before}
    return [
        row
        for row in now
        if row["verdict"] in DECIDED and words.get(row["hypothesis"]) != row["verdict"]
    ]
