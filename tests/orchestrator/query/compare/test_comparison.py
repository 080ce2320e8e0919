"""`orchestrator.query.compare.comparison`: shared runs, other code and data, sessions, p-values."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from stored_pairs import MEAN, SUM, change_record, compare_stored, records_of, spec

from decoder.errors import ConfigError
from orchestrator.query.compare.comparison import ComparisonRow
from orchestrator.query.compare.effects import MeanDifference
from orchestrator.store.paths import Results


def difference(row: ComparisonRow) -> MeanDifference:
    assert row.difference is not None
    return row.difference


def means(row: ComparisonRow) -> tuple[float, float]:
    assert row.a is not None and row.b is not None
    return row.a.mean, row.b.mean


def is_third(record: dict[str, Any]) -> bool:
    return bool(record["config"]["optim"]["epsilon"] < 0.1)


def test_shared_arms_are_recognised_as_the_same_runs(shared: Results) -> None:
    same, *alone = compare_stored(shared, "one", "two").rows
    assert (same.a_arm, same.b_arm, same.joined_by) == ("sum", "sum", "configuration")
    assert (difference(same).value, difference(same).n_same) == (0.0, 6)
    assert math.isnan(difference(same).p) and math.isnan(same.p_adjusted) and not same.others
    assert [(row.a_arm, row.b_arm, row.difference) for row in alone] == [
        ("mean", None, None),
        (None, "third", None),
    ]


def test_single_arms_of_ablations_are_paired_by_seed(shared: Results) -> None:
    (row,) = compare_stored(shared, "one:mean", "two:third").rows
    assert difference(row).n_pairs == 6
    assert difference(row).value == pytest.approx(0.1, abs=0.05)
    assert row.p_adjusted == pytest.approx(difference(row).p) and row.p_adjusted < 0.01


def test_a_difference_of_every_pair_is_listed_once(shared: Results) -> None:
    comparison = compare_stored(shared, "one:mean", "two:third")
    assert comparison.common["two:third"] == (("optim.epsilon", "0.1", "1e-08"),)
    assert comparison.rows[0].others == ()


def test_other_code_is_refused_and_both_versions_are_named(other_code: Results) -> None:
    with pytest.raises(ConfigError) as error:
        compare_stored(other_code, "one", "two")
    (problem,) = error.value.problems
    for fact in ("2 of 2", "one: commit 0123abcd", "two: commit fedc9876", "aaaaaaaa", "bbbbbbbb"):
        assert fact in problem
    assert "--allow-mixed" in problem and "--same-numerics" in problem


def test_sources_that_train_the_same_are_the_same_code_at_any_commit(
    tmp_path: Path, build: Any, keep: Any, truth_of: Any
) -> None:
    results = Results(tmp_path / "results")
    for n, name in enumerate(("one", "two", "three")):
        code = {
            "decoder_sha256": str(n) * 64,
            "training_sha256": ("c" if n < 2 else "d") * 64,
            "git_commit": str(n) * 8,
        }
        made = build(spec(name, {"sum": SUM, "mean": MEAN}, 3 + n), truth_of)
        keep(results, made, name, environment={"code": code})
    comparison = compare_stored(results, "one", "two")
    assert comparison.n_tested == 2
    assert "code" not in [other.name for other in comparison.common["two"]]
    with pytest.raises(ConfigError, match=r"^code .*cccccccc.*dddddddd"):
        compare_stored(results, "one", "three")


def test_mixed_code_is_shown_without_an_interval_where_asked_for(other_code: Results) -> None:
    comparison = compare_stored(other_code, "one", "two", allow_mixed=True)
    for row in comparison.rows:
        assert [mismatch.name for mismatch in row.mismatches] == ["code"]
        assert math.isfinite(difference(row).value) and math.isnan(difference(row).p)
        assert math.isinf(difference(row).interval.low)
    assert comparison.n_tested == 0


def test_sources_of_one_numerics_version_are_the_same_code_where_asked_for(
    tmp_path: Path, build: Any, keep: Any, truth_of: Any
) -> None:
    results = Results(tmp_path / "results")
    levels = {"sum": SUM, "mean": MEAN}
    keep(results, build(spec("one", levels, 3), truth_of))
    code = {"decoder_sha256": "b" * 64, "git_commit": "fedc9876"}
    keep(results, build(spec("two", levels, 3), truth_of), "other", environment={"code": code})
    with pytest.raises(ConfigError, match="--same-numerics"):
        compare_stored(results, "one", "two")
    comparison = compare_stored(results, "one", "two", numerics_decide=True)
    assert comparison.n_tested == 2
    assert "code" in [other.name for other in comparison.common["two"]]


def test_other_data_is_refused(tmp_path: Path, build: Any, keep: Any, truth_of: Any) -> None:
    results = Results(tmp_path / "results")
    keep(results, build(spec("one", {"sum": SUM}, 3), truth_of))
    made = build(spec("two", {"sum": SUM}, 3), truth_of)
    keep(results, made, "other", dataset={"fingerprint": "9" * 16, "path": "/d/other"})
    with pytest.raises(ConfigError, match=r"^data .*small \(4f1d9b27\).*other \(99999999\)"):
        compare_stored(results, "one", "two", numerics_decide=True)


def test_p_values_are_adjusted_for_their_number(
    tmp_path: Path, build: Any, keep: Any, truth_of: Any
) -> None:
    results = Results(tmp_path / "results")
    keep(results, build(spec("one", {"sum": SUM, "mean": MEAN}), truth_of))
    keep(results, build(spec("two", {"sum": SUM, "mean": MEAN}), truth_of), "again")
    of_two = set(run_ids(results, "two"))
    for run_id, record in records_of(results).items():
        worse = 1 if record["config"]["loss"]["ctc_reduction"] == "mean" else (-1) ** record["seed"]
        n_edits = 20 + (worse * (1 + record["seed"]) if run_id in of_two else 0)
        change_record(results, run_id, per_session={"day1": [n_edits, 100]})
    rows = compare_stored(results, "one", "two", by_session=True).rows
    smaller, larger = sorted(difference(row).p for row in rows)
    assert smaller < 0.01 and larger > 0.5
    assert sorted(row.p_adjusted for row in rows) == pytest.approx([2 * smaller, larger])


def run_ids(results: Results, name: str, arm: str | None = None) -> list[str]:
    """The planned runs of an ablation, or of one arm of it."""
    plan = json.loads(results.plan(name).read_bytes())
    return [run["run_id"] for run in plan["runs"] if arm in (None, run["arm_id"])]


def test_collapse_is_judged_by_the_thresholds_of_the_first_side(
    tmp_path: Path, build: Any, keep: Any, truth: Any
) -> None:
    results = Results(tmp_path / "results")
    levels = {"sum": SUM, "mean": MEAN}
    strict = {"emitted_ratio": 0.99}  # every evaluation is on such a plateau
    one = {**spec("one", levels, 3), "collapse": strict}
    keep(results, build(one, lambda *_: truth(per=0.3)))
    keep(results, build(spec("two", levels, 3), lambda *_: truth(per=0.3)))
    comparison = compare_stored(results, "one", "two:sum", metric="collapsed")
    assert any("two:sum" in text and "0.99" in text for text in comparison.remarks)
    assert means(comparison.rows[0]) == (1.0, 1.0)
    by_two = compare_stored(results, "two:sum", "one", metric="collapsed")
    assert means(by_two.rows[0]) == (0.0, 0.0)


def test_sessions_are_compared_one_by_one(shared: Results) -> None:
    for run_id, record in records_of(shared).items():
        counts = {"day1": [20 + record["seed"], 100], "day2": [40 + 10 * is_third(record), 200]}
        change_record(shared, run_id, per_session=counts)
    rows = compare_stored(shared, "one:mean", "two:third", by_session=True).rows
    assert [row.session for row in rows] == ["day1", "day2"]
    assert [difference(row).value for row in rows] == pytest.approx([0.0, 0.05])
    assert means(rows[0])[0] == pytest.approx(0.225)


def test_an_arm_that_diverged_in_every_seed_counts_in_every_session(shared: Results) -> None:
    for run_id, record in records_of(shared).items():
        lost = is_third(record)
        counts = {} if lost else {"day1": [20, 100], "day2": [40, 200]}
        ending = {"status": "diverged", "diverged_step": 390} if lost else {}
        change_record(shared, run_id, per_session=counts, **ending)
    rows = compare_stored(shared, "one:mean", "two:third", by_session=True).rows
    assert [row.session for row in rows] == ["day1", "day2"]
    assert [means(row)[1] for row in rows] == [1.0, 1.0]


def test_records_without_sessions_are_counted(shared: Results) -> None:
    for run_id in records_of(shared):
        change_record(shared, run_id, per_session=None)
    with pytest.raises(ConfigError, match="^--by session: "):
        compare_stored(shared, "one", "two", by_session=True)
    change_record(shared, run_id, per_session={"day1": [20, 100]})
    remarks = compare_stored(shared, "one", "two", by_session=True).remarks
    assert any("of 24 runs" in text for text in remarks)


def test_a_search_is_compared_by_its_confirmation_runs(shared: Results) -> None:
    (shared.root / "searches").mkdir()
    (shared.ablations / "two").rename(shared.root / "searches" / "two")
    comparison = compare_stored(shared, "one", "two")
    assert [row.b_arm for row in comparison.rows] == ["sum", None, "third"]
    assert any(text.startswith("two: ") and "fresh seeds" in text for text in comparison.remarks)
    (row,) = compare_stored(shared, "one:mean", "two:third").rows
    assert difference(row).n_pairs == 6


def test_run_ids_make_a_side(shared: Results) -> None:
    ids = [run_ids(shared, "one", arm) for arm in ("sum", "mean")]
    (row,) = compare_stored(shared, ids[0][0][:12], ids[1][0]).rows
    assert math.isfinite(difference(row).value) and math.isnan(difference(row).p)
    (row,) = compare_stored(shared, ",".join(ids[0]), ",".join(ids[1])).rows
    assert difference(row).n_pairs == 6


@pytest.mark.parametrize(
    ("texts", "options", "named"),
    [
        (("one",), {}, "^compare: "),
        (("one", "tow"), {}, "^tow: .*'two'"),
        (("one:sun", "two"), {}, "^one:sun: .*'sum'"),
        (("one", "two"), {"metric": "pre"}, "^--metric: one .*'pre'.*'per'"),
        (("one", "two"), {"metric": "val_loss", "by_session": True}, "^--by session .*val_loss"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused(
    shared: Results, texts: Any, options: Any, named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        compare_stored(shared, *texts, **options)


def test_sides_with_nothing_in_common_are_refused_with_the_settings_that_vary(
    tmp_path: Path, build: Any, keep: Any, truth: Any
) -> None:
    results = Results(tmp_path / "results")
    for name, factor, field, values in (
        ("one", "rate", "optim.lr_max", (0.004, 0.003)),
        ("two", "width", "model.n_units", (32, 64)),
    ):
        levels = {f"{factor}{value}": {field: value} for value in values}
        made = {"name": name, "question": "?", "factors": {factor: levels}, "seeds": [0]}
        keep(results, build(made, lambda *_: truth()))
    with pytest.raises(ConfigError, match="model.n_units, optim.lr_max.*--on"):
        compare_stored(results, "one", "two", on=())


def test_a_run_that_is_not_recorded_yet_has_no_value(shared: Results) -> None:
    shared.record(run_ids(shared, "one", "mean")[0]).unlink()
    (row,) = compare_stored(shared, "one:mean", "two:third").rows
    assert row.a is not None and (row.a.n, row.a.n_without) == (5, 1)
    assert difference(row).n_pairs == 5
