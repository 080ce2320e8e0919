"""`orchestrator.query.compare`: shared runs, other code and data, sessions, adjusted p-values."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decoder.errors import ConfigError
from orchestrator.query.compare.comparison import Comparison
from orchestrator.store.paths import Results

Beside = Callable[..., Comparison]


def test_shared_arms_are_recognised_as_the_same_runs(shared: Results, beside: Beside) -> None:
    found = beside(shared, "one", "two")
    same, *alone = found.lines
    assert (same.a_arm, same.b_arm, same.way) == ("sum", "sum", "configuration")
    assert same.effect is not None
    assert (same.effect.difference, same.effect.test, same.effect.n_same) == (0.0, "same runs", 6)
    assert math.isnan(same.p_adjusted) and not same.differences
    assert [(line.a_arm, line.b_arm, line.effect) for line in alone] == [
        ("mean", None, None),
        (None, "third", None),
    ]


def test_single_arms_of_ablations_are_paired_by_seed(shared: Results, beside: Beside) -> None:
    (line,) = beside(shared, "one:mean", "two:third").lines
    assert line.effect is not None and line.effect.n_pairs == 6
    assert line.effect.difference == pytest.approx(0.1, abs=0.05)
    assert line.p_adjusted == pytest.approx(2 / 64)


def test_what_differs_in_every_pair_is_said_once(shared: Results, beside: Beside) -> None:
    found = beside(shared, "one:mean", "two:third")
    assert [str(difference) for difference in found.common["two:third"]] == [
        "optim.epsilon 0.1 → 1e-08"
    ]
    assert found.lines[0].differences == ()


def test_other_code_is_refused_and_both_versions_are_named(
    other_code: Results, beside: Beside
) -> None:
    with pytest.raises(ConfigError) as error:
        beside(other_code, "one", "two")
    (problem,) = error.value.problems
    assert "code differs in 2 of 2 pairs of arms" in problem
    assert "one: commit 0123abcd with changes (sources aaaaaaaa, numerics version 1)" in problem
    assert "two: commit fedc9876 (sources bbbbbbbb, numerics version 2)" in problem
    assert "--allow-mixed" in problem


def test_mixed_code_is_shown_flagged_and_without_an_interval(
    other_code: Results, beside: Beside
) -> None:
    found = beside(other_code, "one", "two", allow_mixed=True)
    for line in found.lines:
        assert [mixture.what for mixture in line.mixed] == ["code"]
        assert line.effect is not None and math.isfinite(line.effect.difference)
        assert math.isinf(line.effect.interval.low) and math.isnan(line.effect.p)
    assert found.n_tested == 0


def test_sources_of_one_numerics_version_are_the_same_code_where_asked_for(
    tmp_path: Path, build: Any, keep: Any, truth_of: Any, beside: Beside
) -> None:
    results = Results(tmp_path / "results")
    levels = {"sum": {}, "mean": {"loss.ctc_reduction": "mean"}}
    spec = {"question": "?", "factors": {"loss": levels}, "seeds": [0, 1, 2]}
    keep(results, build({**spec, "name": "one"}, truth_of))
    code = {"decoder_sha256": "b" * 64, "git_commit": "fedc9876"}
    made = build({**spec, "name": "two"}, truth_of)
    keep(results, made, "other", environment={"code": code})
    with pytest.raises(ConfigError, match="--same-numerics"):
        beside(results, "one", "two")
    found = beside(results, "one", "two", numerics_decide=True)
    assert found.n_tested == 2
    assert "code" in [difference.name for difference in found.common["two"]]


def test_other_data_is_refused(
    tmp_path: Path, build: Any, keep: Any, truth_of: Any, beside: Beside
) -> None:
    results = Results(tmp_path / "results")
    spec = {"question": "?", "factors": {"loss": {"sum": {}}}, "seeds": [0, 1, 2]}
    keep(results, build({**spec, "name": "one"}, truth_of))
    made = build({**spec, "name": "two"}, truth_of)
    keep(results, made, "other", dataset={"fingerprint": "9" * 16, "path": "/d/other"})
    with pytest.raises(ConfigError, match=r"data differs.*small \(4f1d9b27\).*other \(99999999\)"):
        beside(results, "one", "two", numerics_decide=True)


def test_p_values_are_adjusted_for_their_number(
    other_code: Results, beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.query.compare.comparison.mixtures", lambda *_, **__: [])
    found = beside(other_code, "one", "two")
    p_values = [line.effect.p for line in found.lines if line.effect is not None]
    assert found.n_tested == 2
    assert max(line.p_adjusted for line in found.lines) == pytest.approx(max(p_values))
    assert min(line.p_adjusted for line in found.lines) >= min(p_values)


def test_collapse_is_judged_by_the_first_sides_thresholds(
    tmp_path: Path, build: Any, keep: Any, truth: Any, beside: Beside
) -> None:
    results = Results(tmp_path / "results")
    levels = {"sum": {}, "mean": {"loss.ctc_reduction": "mean"}}
    spec = {"question": "?", "factors": {"loss": levels}, "seeds": [0, 1, 2]}
    strict = {"emitted_ratio": 0.99}  # everything is on such a plateau
    keep(results, build({**spec, "name": "one", "collapse": strict}, lambda *_: truth(per=0.3)))
    keep(results, build({**spec, "name": "two"}, lambda *_: truth(per=0.3)))
    found = beside(results, "one", "two:sum", metric="collapsed")
    assert any("two:sum has others of its own" in text for text in found.remarks)
    by_one = found.lines[0]
    by_two = beside(results, "two:sum", "one", metric="collapsed").lines[0]
    assert by_one.a is not None and by_one.a.mean == 1.0
    assert by_two.a is not None and by_two.a.mean == 0.0


def test_sessions_are_told_apart(shared: Results, beside: Beside) -> None:
    for path in shared.runs.glob("*/record.json"):
        record = json.loads(path.read_bytes())
        worse = record["config"]["optim"]["epsilon"] < 0.1
        counts = {"day1": [20 + record["seed"], 100], "day2": [40 + 10 * worse, 200]}
        path.write_text(json.dumps({**record, "per_session": counts}))
    found = beside(shared, "one:mean", "two:third", by_session=True)
    assert [line.session for line in found.lines] == ["day1", "day2"]
    first, second = (line.effect for line in found.lines)
    assert first is not None and first.difference == 0.0
    assert second is not None and second.difference == pytest.approx(0.05)
    figure = found.lines[0].a
    assert figure is not None and figure.mean == pytest.approx(0.225)


def test_an_arm_that_diverged_in_every_seed_counts_in_every_session(
    shared: Results, beside: Beside
) -> None:
    for path in shared.runs.glob("*/record.json"):
        record = json.loads(path.read_bytes())
        lost = record["config"]["optim"]["epsilon"] < 0.1
        told = {"per_session": {} if lost else {"day1": [20, 100], "day2": [40, 200]}}
        ending = {"status": "diverged", "diverged_step": 390} if lost else {}
        path.write_text(json.dumps({**record, **told, **ending}))
    found = beside(shared, "one:mean", "two:third", by_session=True)
    assert [line.session for line in found.lines] == ["day1", "day2"]
    for line in found.lines:
        assert line.b is not None and line.b.mean == 1.0


def test_records_without_sessions_are_said(shared: Results, beside: Beside) -> None:
    for path in shared.runs.glob("*/record.json"):
        record = json.loads(path.read_bytes())
        path.write_text(json.dumps({k: v for k, v in record.items() if k != "per_session"}))
    with pytest.raises(ConfigError, match="no run tells PER by session"):
        beside(shared, "one", "two", by_session=True)
    path = next(shared.runs.glob("*/record.json"))
    record = json.loads(path.read_bytes())
    path.write_text(json.dumps({**record, "per_session": {"day1": [20, 100]}}))
    found = beside(shared, "one", "two", by_session=True)
    assert any("of 24 runs do not tell PER by session" in text for text in found.remarks)


def test_a_search_is_compared_by_its_confirmed_winners(shared: Results, beside: Beside) -> None:
    (shared.root / "searches").mkdir()
    (shared.ablations / "two").rename(shared.root / "searches" / "two")
    found = beside(shared, "one", "two")
    assert [line.b_arm for line in found.lines] == ["sum", None, "third"]
    assert any("on fresh seeds" in text for text in found.remarks)
    (line,) = beside(shared, "one:mean", "two:third").lines
    assert line.effect is not None and line.effect.n_pairs == 6


def test_run_ids_make_a_side_of_their_own(shared: Results, beside: Beside) -> None:
    plan = json.loads(shared.plan("one").read_bytes())
    ids = {arm: [r["run_id"] for r in plan["runs"] if r["arm_id"] == arm]
           for arm in ("sum", "mean")}  # fmt: skip
    (line,) = beside(shared, ids["sum"][0][:12], ids["mean"][0]).lines
    assert line.effect is not None and line.effect.test == "a single run gives no interval"
    (line,) = beside(shared, ",".join(ids["sum"]), ",".join(ids["mean"])).lines
    assert line.effect is not None and line.effect.n_pairs == 6


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (("one",), {}, "needs two or more"),
        (("one", "tow"), {}, "is no ablation or search in .*did you mean 'two'"),
        (("one:sun", "two"), {}, "has no arm 'sun'; did you mean 'sum'"),
        (("one", "two"), {"metric": "pre"}, "tells no 'pre'; did you mean 'per'"),
        (("one", "two"), {"metric": "val_loss", "by_session": True}, "tells PER alone"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    shared: Results, beside: Beside, texts: Any, options: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        beside(shared, *texts, **options)


def test_sides_without_anything_in_common_are_refused_with_what_varies(
    tmp_path: Path, build: Any, keep: Any, truth: Any, beside: Beside
) -> None:
    results = Results(tmp_path / "results")
    for name, factor, field, values in (
        ("one", "rate", "optim.lr_max", (0.004, 0.003)),
        ("two", "width", "model.n_units", (32, 64)),
    ):
        levels = {f"{factor}{value}": {field: value} for value in values}
        spec = {"name": name, "question": "?", "factors": {factor: levels}, "seeds": [0]}
        keep(results, build(spec, lambda *_: truth()))
    message = "no arm of one answers.*what varies is model.n_units, optim.lr_max.*--on"
    with pytest.raises(ConfigError, match=message):
        beside(results, "one", "two", on=())


def test_a_run_not_recorded_yet_is_a_gap(shared: Results, beside: Beside) -> None:
    plan = json.loads(shared.plan("one").read_bytes())
    gone = next(run["run_id"] for run in plan["runs"] if run["arm_id"] == "mean")
    shared.record(gone).unlink()
    (line,) = beside(shared, "one:mean", "two:third").lines
    assert line.a is not None and (line.a.n, line.a.n_gaps) == (5, 1)
    assert line.effect is not None and line.effect.n_pairs == 5
