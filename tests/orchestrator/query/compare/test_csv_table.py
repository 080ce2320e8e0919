"""`orchestrator.query.compare.csv_table`: tables as people keep them."""

import math
import os
from pathlib import Path

import pytest
from stored_pairs import compare_stored, ignore

from decoder.errors import ConfigError, UserError
from orchestrator.query.compare.column_roles import assign_roles
from orchestrator.query.compare.csv_table import number
from orchestrator.query.compare.table_cells import read_cells
from orchestrator.query.runs import export_runs, list_runs
from orchestrator.store.paths import Results

MESSY = """\ufeff# exported from the tracker
run name;Seed ; Learning Rate;adam_eps;Val  PER (%);status;notes;
lr5e-3 a;1;0,005;0,1;24,4;finished;;
lr5e-3 b;2;0,005;0,1;25,1 %;finished;good;
lr2e-3 a;1;0,002;0,1;61,0;Finished;;
lr2e-3 b;2;0,002;0,1;;crashed;disk full;

lr2e-3 c;3;0,002;0,1;n/a;diverged;;
"""
TIDY = """seed,optim.lr_max,per
1,0.005,0.254
2,0.005,0.259
1,0.002,0.62
2,0.002,0.64
"""


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    path = tmp_path / "messy.csv"
    path.write_text(MESSY, encoding="utf-8")
    return path


@pytest.fixture
def tidy(tmp_path: Path) -> Path:
    path = tmp_path / "tidy.csv"
    path.write_text(TIDY)
    return path


def test_messy_cells_are_read(messy: Path) -> None:
    headers, cells, decimal_comma = read_cells(messy)
    assert headers == [
        *("run name", "Seed", "Learning Rate", "adam_eps", "Val PER (%)", "status", "notes")
    ]
    assert decimal_comma and len(cells) == 5
    assert cells[0] == ["lr5e-3 a", "1", "0,005", "0,1", "24,4", "finished", ""]


def test_messy_headers_find_their_fields(messy: Path) -> None:
    headers, cells, _ = read_cells(messy)
    table = {h: [row[i] for row in cells] for i, h in enumerate(headers)}
    roles = assign_roles(table, "per")
    assert roles.metrics == {"Val PER (%)": "per"}
    assert roles.settings == {"Learning Rate": "optim.lr_max", "adam_eps": "optim.epsilon"}
    assert roles.special == {"seed": "Seed", "outcome": "status"}
    assert roles.others == ("run name", "notes")


def test_two_foreign_tables_are_compared(shared: Results, messy: Path, tidy: Path) -> None:
    comparison = compare_stored(shared, str(messy), str(tidy))
    high, low = comparison.rows
    assert high.a is not None and high.a.mean == pytest.approx(0.2475)
    assert high.difference is not None
    assert high.difference.value == pytest.approx((0.254 - 0.244 + 0.259 - 0.251) / 2)
    assert high.difference.n_pairs == 2
    assert low.a is not None and (low.a.n, low.a.n_diverged, low.a.n_without) == (2, 1, 1)
    assert any("'Val PER (%)'" in text and "100" in text for text in comparison.remarks)
    assert any("code" in text for text in comparison.remarks)


def test_a_table_is_not_pooled_with_our_runs(shared: Results, tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("ctc_reduction,seed,PER\nmean,0,0.41\nmean,1,0.42\nnone_then_mean,0,0.3\n")
    with pytest.raises(ConfigError, match="^code .*--allow-mixed"):
        compare_stored(shared, "one", str(path))
    comparison = compare_stored(shared, "one", str(path), allow_mixed=True)
    by_arm = {row.a_arm: row for row in comparison.rows}
    mean = by_arm["mean"]
    assert mean.b is not None and mean.b.mean == pytest.approx(0.415)
    assert mean.difference is not None and math.isinf(mean.difference.interval.low)


def test_our_own_table_is_recognised_by_its_runs(shared: Results, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    export_runs(
        path,
        list_runs(
            shared,
            ignore,
            columns=["run_id", "outcome", "per", "numerics_version", "model.inter_ctc_layers"],
        ),
    )
    comparison = compare_stored(shared, "one", str(path))
    same = [row.difference.n_same for row in comparison.rows if row.difference is not None]
    assert same == [6, 6]
    others = [other.name for other in comparison.common["runs.csv"]]
    assert "code" not in others and "model.inter_ctc_layers" not in others  # [] equals []


def test_on_makes_arms_of_columns_we_do_not_know(shared: Results, tmp_path: Path) -> None:
    for name, shift in (("a", 0.0), ("b", 0.01)):
        rows = [
            f"{tau},{seed},{0.2 + 0.1 * tau + 0.01 * seed + shift}"
            for tau in (1, 2)
            for seed in (1, 2, 3)
        ]
        (tmp_path / f"{name}.csv").write_text("\n".join(["tau,seed,dev score", *rows]))
    paths = [str(tmp_path / f"{name}.csv") for name in ("a", "b")]
    comparison = compare_stored(shared, *paths, metric="dev score", on=("tau",))
    assert [row.a_arm for row in comparison.rows] == ["tau 1", "tau 2"]
    for row in comparison.rows:
        assert row.difference is not None and row.difference.value == pytest.approx(0.01)


def test_numbers_that_vary_and_are_no_result_make_arms(shared: Results, tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    path.write_text(
        "Name,State,Runtime,width,lr_max,gate,alpha,val_per,_step,val_f1\n"
        "brisk-1,finished,3600,64,0.01,relu,0.1,0.31,999,0.5\n"
        "calm-2,finished,3601,512,0.01,gelu,0.1,0.22,999,0.6\n"
        "dry-3,finished,3602,512,0.01,gelu,0.1,0.23,999,0.7\n"
        "easy-4,crashed,10,512,0.01,gelu,0.9,,9,\n"
        "fine-5,finished,3700,512,0.003,gelu,0.9,0.24,999,0.8\n"
    )
    comparison = compare_stored(shared, str(path), str(path), allow_mixed=True)
    counts = sorted((row.a.n, row.a.n_without) for row in comparison.rows if row.a is not None)
    assert counts == [(0, 1), (1, 0), (1, 0), (2, 0)]
    remark = next(text for text in comparison.remarks if "make arms" in text)
    assert "width, gate, alpha" in remark and "Runtime, _step, val_f1" in remark


@pytest.mark.parametrize(
    ("header", "is_setting"),
    [
        ("word_score", True),
        ("white_noise", True),
        ("time_mask_len", True),
        ("per_device_batch", True),
        ("loss_weight", True),
        ("bidirectional_top", True),
        ("train_time", False),
        ("wer_5gram", False),
        ("dev score", False),
        ("phonErrorRate", False),
        ("_timestamp", False),
        ("run_number", False),
        ("Step of Best", False),
        ("val_per__MIN", False),
        ("wer_std", False),
        ("width_max", True),
        ("Unnamed: 0", False),
    ],
)
def test_results_and_labels_are_told_from_settings_by_their_words(
    header: str, is_setting: bool
) -> None:
    roles = assign_roles({"per": [0.3, 0.2, 0.1], header: [1.0, 2.0, 2.0]}, "per")
    assert (header in roles.settings) is is_setting


def test_named_rows_keep_their_names_where_numbers_vary(shared: Results, tmp_path: Path) -> None:
    path = tmp_path / "models.csv"
    path.write_text("model,millions,per\ngru,44,0.1\nmamba,20,0.12\n")
    comparison = compare_stored(shared, str(path), str(path), allow_mixed=True)
    assert [row.a_arm for row in comparison.rows] == ["gru", "mamba"]


def test_rows_with_nothing_but_a_run_and_a_result_are_no_repeats(
    shared: Results, tmp_path: Path
) -> None:
    for name, shift in (("a", 0.0), ("b", 0.01)):
        rows = "".join(f"{run},{0.2 + shift}\n" for run in ("wide", "deep", "base"))
        (tmp_path / f"{name}.csv").write_text("Run,Test PER\n" + rows)
    paths = [str(tmp_path / f"{name}.csv") for name in ("a", "b")]
    comparison = compare_stored(shared, *paths, metric="Test PER", allow_mixed=True)
    assert [(row.a_arm, row.b_arm) for row in comparison.rows] == [
        ("wide", "wide"),
        ("deep", "deep"),
        ("base", "base"),
    ]


def test_one_rate_above_two_does_not_make_percent_of_a_table(
    shared: Results, tmp_path: Path
) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("seed,optim.lr_max,per\n1,0.1,0.3\n2,0.1,0.28\n3,0.2,2.8\n")
    comparison = compare_stored(shared, str(path), str(path), allow_mixed=True)
    assert sorted(row.a.mean for row in comparison.rows if row.a) == [pytest.approx(0.29), 2.8]


def test_a_table_without_the_metric_is_refused_with_its_headers(
    shared: Results, tidy: Path
) -> None:
    with pytest.raises(ConfigError, match="'loss'.*--metric.*seed, optim.lr_max"):
        compare_stored(shared, str(tidy), str(tidy), metric="loss")


def test_a_table_without_rows_is_refused(shared: Results, tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("a,b\n,\n")
    with pytest.raises(ConfigError, match="empty.csv: "):
        compare_stored(shared, str(path), "one")


def test_control_characters_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "escape.csv"
    path.write_text("per,na\x1b[2Jme\n0.1,\x1b]0;x\x07\n")
    assert read_cells(path)[:2] == (["per", "na?[2Jme"], [["0.1", "?]0;x?"]])


def test_headers_that_come_twice_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("per,per,\n0.1,0.2,9\n")
    assert read_cells(path)[:2] == (["per", "per #2"], [["0.1", "0.2"]])


def test_a_cell_may_hold_the_delimiter_and_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text('per,notes\n0.1,"good, or\nso"\n# remark\n0.2,fine\n')
    assert read_cells(path)[1] == [["0.1", "good, or\nso"], ["0.2", "fine"]]


@pytest.mark.parametrize(
    ("text", "decimal_comma", "expected"),
    [
        ("0.5", False, 0.5),
        ("24.4 %", False, 24.4),
        ("1.234,5", True, 1234.5),
        ("1e-8", True, 1e-8),
        ("nan", False, None),
        ("", False, None),
        ("lots", False, None),
    ],
)
def test_numbers_are_read_as_written(text: str, decimal_comma: bool, expected: float) -> None:
    assert number(text, decimal_comma) == expected


def test_a_column_named_like_a_factor_holds_its_levels(shared: Results, tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("loss,seed,PER\nmean,0,0.41\nmean,1,0.42\nsum,0,0.3\nfocal,0,0.2\n")
    for sides in (("one", str(path)), (str(path), "one")):
        comparison = compare_stored(shared, *sides, allow_mixed=True)
        pairs = {(row.a_arm, row.b_arm) for row in comparison.rows if row.a_arm and row.b_arm}
        names = {("sum", "loss sum"), ("mean", "loss mean")}
        assert pairs == (names if sides[0] == "one" else {(b, a) for a, b in names})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("seed,per\n1,-1\n2,0.5\n", "row 1: 'per' is -1, but must be 0 to 10"),
        ("seed,per,val_loss\n1,0.5,1\n2,0.5,1e306\n", "row 2: 'val_loss' is 1e+306"),
        ("seed,per\n" + "1,0.5\n" * 100_001, "at most 50,000 runs are compared"),
        ("seed,per," + ",".join(map(str, range(3000))) + "\n1,0.5\n", "line 1 has 3,002 cells"),
        ("seed,per,note\n1,0.5," + "x" * 30_000 + "\n", "line 2: cell 3 has 30,000 characters"),
    ],
)
def test_table_that_no_runs_can_have_is_refused(
    content: str, problem: str, tidy: Path, tmp_path: Path
) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        compare_stored(Results(tmp_path / "results"), str(path), str(tidy))
    assert caught.value.problems[0].startswith(f"{path}: ") and problem in caught.value.problems[0]


def test_export_of_a_tracker_with_hundreds_of_columns_is_read(tmp_path: Path) -> None:
    path, features = tmp_path / "export.csv", str(list(range(512)))  # data.feature_subset
    names = ["Name", "val_per", "feature_subset", *(f"metric_{index}" for index in range(600))]
    row = f',0.21,"{features}",' + ",".join(["0.5"] * 600) + "\n"
    lines = (f"run{index}{row}" for index in range(1000))
    path.write_text(",".join(names) + "\n" + "".join(lines))
    assert path.stat().st_size > 4 << 20
    headers, cells, _ = read_cells(path)
    assert headers == names and len(cells) == 1000 and cells[-1][:3] == ["run999", "0.21", features]


@pytest.mark.parametrize("target", ["/dev/zero", "/proc/kmsg", "pipe", "folder"])
def test_what_is_no_file_of_text_is_refused_at_once(target: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    if target == "pipe":
        os.mkfifo(path)
    elif target == "folder":
        path.mkdir()
    else:
        path.symlink_to(target)
    with pytest.raises(UserError):
        read_cells(path)


def test_huge_seeds_are_no_seeds(tmp_path: Path, tidy: Path) -> None:
    path = tmp_path / "huge.csv"
    path.write_text("seed,optim.lr_max,per\n1e306,0.005,0.3\n0,0.005,0.4\n9e15,0.005,0.5\n")
    compare_stored(Results(tmp_path / "results"), str(path), str(tidy))
