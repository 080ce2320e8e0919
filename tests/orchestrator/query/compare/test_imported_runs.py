"""`orchestrator.query.compare.imported_runs`: folders of runs trained elsewhere are compared."""

import json
from pathlib import Path

import pytest
import yaml
from stored_pairs import compare_stored

from decoder.errors import ConfigError
from orchestrator.history.reading.store import import_runs
from orchestrator.store.paths import Results


def write_runs(root: Path, shift: float, **settings: float) -> Path:
    """Two configurations with three seeds each; the last run was not finished."""
    for rate in (0.005, 0.002):
        for seed in (1, 2, 3):
            folder = root / f"lr{rate}_seed{seed}"
            folder.mkdir(parents=True)
            unfinished = rate == 0.002 and seed == 3
            args = {
                "batchSize": 64, "lrStart": rate, "lrEnd": rate, "nUnits": 256, "nBatch": 400,
                "nLayers": 5, "seed": seed, "datasetPath": "/data/ptDecoder", **settings,
            }  # fmt: skip
            (folder / "args.yaml").write_text(yaml.safe_dump(args))
            lines = [
                {"step": step, "per": 0.3 + 10 * rate + 0.01 * seed + shift + 10 / step}
                for step in range(50, 200 if unfinished else 401, 50)
            ]
            (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return root


def test_two_folders_are_joined_by_their_settings(shared: Results, tmp_path: Path) -> None:
    a = write_runs(tmp_path / "winter", 0.0)
    b = write_runs(tmp_path / "spring", 0.02, nUnits=512)
    comparison = compare_stored(shared, str(a), str(b))
    assert comparison.sides == ("winter", "spring")
    assert [str(difference) for difference in comparison.common["spring"]] == [
        "model.n_units 256 → 512"
    ]
    by_n = {row.a.n: row for row in comparison.rows if row.a is not None}
    whole, short = by_n[3], by_n[2]
    assert whole.difference is not None and whole.difference.value == pytest.approx(0.02)
    assert whole.difference.n_pairs == 3
    assert short.a is not None and short.a.n_without == 1
    assert any("lr0.002_seed3" in text for text in comparison.remarks)
    assert not any("code" in text for text in comparison.remarks)


def test_unknown_settings_are_differences(shared: Results, tmp_path: Path) -> None:
    a = write_runs(tmp_path / "plain", 0.0)
    b = write_runs(tmp_path / "spiced", 0.02, secretSauce=3)
    comparison = compare_stored(shared, str(a), str(b))
    assert [str(difference) for difference in comparison.common["spiced"]] == [
        "secretSauce not set → 3"
    ]


def test_imported_runs_are_found_by_name_and_not_pooled_with_ours(
    shared: Results, tmp_path: Path
) -> None:
    import_runs(shared, write_runs(tmp_path / "winter", 0.0), "winter")
    with pytest.raises(ConfigError, match="^code .*t12.*--allow-mixed"):
        compare_stored(
            shared, "winter", "one", on=("optim.epsilon", "loss.ctc_reduction", "optim.lr_max")
        )


def test_runs_without_settings_are_an_arm_each(shared: Results, tmp_path: Path) -> None:
    for folder, shift in (("winter", 0.0), ("spring", 0.1)):
        for at, name in enumerate(("gru", "tcn")):
            rows = [f"{epoch},{0.9 - 0.1 * epoch - shift - 0.05 * at}" for epoch in range(4)]
            path = tmp_path / folder / "out" / f"{name}_metrics.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(["epoch,val_per", *rows]))
    comparison = compare_stored(shared, *(str(tmp_path / f) for f in ("winter", "spring")))
    assert [row.a_arm for row in comparison.rows] == ["out/gru_metrics", "out/tcn_metrics"]
    for row in comparison.rows:
        assert row.a is not None and row.a.n == 1
        assert row.difference is not None and row.difference.value == pytest.approx(-0.1)
    assert any("no run has settings" in text for text in comparison.remarks)
