"""`orchestrator.query.compare.table_checks`: tables that would be compared wrongly."""

from pathlib import Path

import pytest
from stored_pairs import compare_stored

from decoder.errors import ConfigError
from orchestrator.store.paths import Results


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("run,epoch,val_per\na,0,.9\na,1,.5\na,2,.3\nb,0,.9\nb,1,.6\nb,2,.4\n", ["per epoch"]),
        ("step,val_per\n0,.9\n100,.5\n200,.3\n", ["per step"]),
        ("seed,lr,val_per\n1,.01,21%\n2,.01,.22\n", ["val_per", "21%", ".22"]),
        ("model,val_per\ngru,21.0 ± 0.3\nlstm,23.1 ± 0.2\n", ["val_per", "21.0 ± 0.3"]),
    ],
)
def test_rows_that_are_no_runs_and_rates_of_two_units_are_refused(
    tmp_path: Path, table: str, words: list[str]
) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(table, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        compare_stored(Results(tmp_path / "results"), str(path), str(path))
    assert all(word in str(error.value) for word in ["odd.csv", *words])


def test_a_last_epoch_of_each_run_is_no_learning_curve(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("seed,epoch,per\n1,30,.3\n2,35,.3\n3,40,.3\n")
    comparison = compare_stored(Results(tmp_path / "results"), str(path), str(path))
    assert [row.a.n for row in comparison.rows if row.a] == [3]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_tables_are_read_in_any_usual_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text("seed,größe,per\n1,a,.3\n2,a,.5\n", encoding=encoding)
    comparison = compare_stored(Results(tmp_path / "results"), str(path), str(path))
    assert [row.a.mean for row in comparison.rows if row.a] == [pytest.approx(0.4)]
