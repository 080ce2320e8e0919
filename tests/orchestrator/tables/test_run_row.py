"""`orchestrator.tables.run_row`: the cells of a record, and the same with types."""

from typing import Any

import pytest
from stored_pairs import records_of

from decoder.config import DecoderConfig, flatten, override, resolve
from orchestrator.store.paths import Results
from orchestrator.tables.run_row import parse_run_row, record_cells


@pytest.fixture
def record(store: Results) -> Any:
    return next(iter(records_of(store).values()))


def test_old_records_have_the_defaults_of_newer_fields(record: Any) -> None:
    del record["config"]["augment"]["smooth_taps"]
    defaults = flatten(DecoderConfig())
    assert record_cells(record, [])["augment.smooth_taps"] == defaults["augment.smooth_taps"]


def test_fields_of_other_software_are_kept_as_they_are(record: Any) -> None:
    record["config"]["model"]["flavour"] = ["vanilla"]
    assert record_cells(record, [])["model.flavour"] == ["vanilla"]


def test_settings_that_cannot_change_a_result_do_not_change_the_configuration_id(
    record: Any,
) -> None:
    ids = set()
    for path in ("/here", "/there"):
        config = resolve(override(DecoderConfig(), {"data.path": path}, "test"))
        record["config"] = config.model_dump(mode="json")
        ids.add(record_cells(record, [])["config_id"])
    assert len(ids) == 1


def test_a_row_parts_what_identifies_a_run_from_results_and_settings(record: Any) -> None:
    cells = record_cells(record, [])
    row = parse_run_row(cells)
    typed = {"run_id", "outcome", "seed", "config_id", "dataset", "dataset_path", "trainer"}
    typed |= {"numerics_version", "decoder_sha256", "training_sha256", "git_commit", "git_dirty"}
    typed |= {"per_session"}
    assert row.results.keys() | row.settings.keys() == cells.keys() - typed
    assert not row.results.keys() & row.settings.keys()
    assert row.git_dirty and row.numerics_version == 1 and row.trainer is None


def test_missing_columns_have_no_value() -> None:
    row = parse_run_row({"run_id": "a", "per": 0.5, "optim.epsilon": None})
    assert (row.outcome, row.seed, row.config_id, row.per_session) == ("missing", None, None, {})
    assert row.results == {"per": 0.5} and row.settings == {"optim.epsilon": None}
