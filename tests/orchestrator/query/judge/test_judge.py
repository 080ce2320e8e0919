"""`orchestrator.query.judge`: hypotheses over runs of the store, of imports and of tables."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from decoder.errors import ConfigError
from orchestrator.driver.reporting import rebuild_report
from orchestrator.history.reading.store import import_runs
from orchestrator.query.compare.comparison import ComparisonOptions
from orchestrator.query.compare.named_sides import compare_named
from orchestrator.query.judge.judge import judge_runs
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan

ROWS = (
    *("a,0,0.205,100", "a,1,0.207,100", "a,2,0.209,100"),
    *("b,0,0.150,100", "b,1,0.155,100", "b,2,0.160,100"),
)
SYSTEMS = {"system": {"a": "system == 'a'", "b": "system == 'b'"}}
LABEL = "not registered before the runs"


def quiet(text: str) -> None:
    """Takes remarks that no test reads."""


def refused(path: Path, results: Results, *runs: str | Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        judge_runs(path, [str(run) for run in runs], results, quiet)
    return caught.value.problems


def verdicts(results: Results, name: str) -> pd.DataFrame:
    table = pd.read_parquet(results.ablation(name) / "verdicts.parquet")
    return table.set_index("hypothesis")


def test_an_ablation_of_ours_is_judged_as_it_judges_itself(judged_twelve: Results) -> None:
    own = verdicts(judged_twelve, "blank_collapse")
    judged = verdicts(judged_twelve.of_judged, "judged")
    same = ["verdict", "reason", "strong", "effect", "low", "high", "bound_low", "bound_high"]
    same += ["p", "p_adjusted", "test", "n_family", "n_seeds", "differences", "detectable_effect"]
    pd.testing.assert_frame_equal(judged[same], own[same], check_exact=True)
    assert set(own["verdict"]) == {"supported", "refuted"} | set(judged["verdict"])
    assert own["registered"].all() and not judged["registered"].any()
    assert judged["exploratory"].all()
    for caveats in map(json.loads, judged["caveats"]):
        assert caveats == []  # the contrasts of an ablation are clean


def test_the_label_stands_wherever_a_verdict_is_shown(judged_twelve: Results) -> None:
    folder = judged_twelve.of_judged.ablation("judged")
    page = (folder / "report.md").read_text()
    n_claims = 5
    assert page.count(LABEL) >= 3 * n_claims  # title, decision, row of the table
    answer = json.loads((folder / "verdicts.json").read_text())
    assert answer["answer"].startswith("Not registered before the runs:")
    assert [one["registered"] for one in answer["verdicts"].values()] == [False] * n_claims
    assert "hashed and stored before" not in page
    own = (judged_twelve.ablation("blank_collapse") / "report.md").read_text()
    assert LABEL not in own and "hashed and stored before" in own


def test_the_runs_folder_and_an_ablation_give_the_same_verdicts(
    store: Results, of_twelve: Callable[..., Path], judged_twelve: Results
) -> None:
    document = judge_runs(of_twelve(), [str(store.runs), "blank_collapse"], store, quiet)
    first = verdicts(judged_twelve.of_judged, "judged")
    pd.testing.assert_frame_equal(verdicts(store.of_judged, "judged"), first)
    assert len(document.run_ids) == 72


def test_two_runs_for_one_arm_and_block_are_refused_with_what_tells_them_apart(
    store: Results, of_twelve: Callable[..., Path]
) -> None:
    (problem,) = refused(of_twelve(where=None), store, "blank_collapse")
    assert "arm weak+0.002+mean has 2 runs in block 0" in problem
    assert "optim.lr_warmup_steps" in problem


def test_repeated_runs_of_one_configuration_are_refused_without_naming_a_setting(
    tmp_path: Path,
) -> None:
    rows = ["arm,seed,per", "a,1,0.3", "a,1,0.31", "b,1,0.2"]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    (tmp_path / "claims.yaml").write_text(
        """
name: twice
question: Is b lower?
factors: {arm: {a: "arm == 'a'", b: "arm == 'b'"}}
hypotheses:
  lower: {claim: B is lower., contrast: {factor: arm, from: a, to: b}, outcome: per,
    direction: decrease, margin: 0.01}
"""
    )
    (problem,) = refused(tmp_path / "claims.yaml", Results(tmp_path), str(tmp_path / "table.csv"))
    assert "arm a has 2 runs in block 1" in problem and "same settings" in problem


def test_a_lab_table_of_rates_is_judged_and_rebuilt_without_it(
    tmp_path: Path, write: Callable[..., Path], claim: Any, table: Callable[..., Path]
) -> None:
    results = Results(tmp_path / "results")
    path = table(
        "system,seed,PER,hidden", *ROWS[:3], *(r.replace(",100", ",200") for r in ROWS[3:])
    )
    claims = write(factors=SYSTEMS, hypotheses={"lower": claim()})
    judge_runs(claims, [str(path)], results, quiet)
    one = verdicts(results.of_judged, "judged").loc["lower"]
    assert one["verdict"] == "supported" and one["n_seeds"] == 3
    assert one["effect"] == pytest.approx(-0.052)
    caveats = json.loads(one["caveats"])
    assert any("hidden 100 → 200" in text for text in caveats)
    assert any("step budget" in text and "code" in text for text in caveats)
    assert not any("system" in text for text in caveats)
    before = (results.of_judged.ablation("judged") / "report.md").read_bytes()
    path.unlink()
    rebuild_report(results.of_judged, read_plan(results.of_judged, "judged"), quiet)
    assert (results.of_judged.ablation("judged") / "report.md").read_bytes() == before
    sides = ["judged:a", "judged:b"]
    comparison = compare_named(sides, results, ComparisonOptions(), quiet)
    (row,) = comparison.rows
    assert row.difference is not None
    assert row.difference.value == pytest.approx(one["effect"])


def test_a_table_with_both_error_rates_says_whether_per_stands_for_wer(
    tmp_path: Path, write: Callable[..., Path], claim: Any, table: Callable[..., Path]
) -> None:
    results = Results(tmp_path / "results")
    names = "abcdef"
    rows = [
        f"{name},{seed},{0.1 + 0.01 * index + 0.001 * seed},{20 + 2 * index + 0.1 * seed}"
        for index, name in enumerate(names)
        for seed in range(4)
    ]
    levels = {name: f"system == '{name}'" for name in names}
    keys = {"factors": {"system": levels}, "hypotheses": {"lower": claim()}}
    claims = write(**keys, columns={"wer": "WER in words"})
    judge_runs(claims, [str(table("system,seed,PER,WER in words", *rows))], results, quiet)
    folder = results.of_judged.ablation("judged")
    runs = pd.read_parquet(folder / "runs.parquet")
    assert runs["wer"].iloc[0] == pytest.approx(0.2)  # in percent in the table
    assert (folder / "figures" / "per_and_wer.png").is_file()
    page = (folder / "report.md").read_text()
    assert "of 15 pairs of arms" in page and "36 of 36 pairs" in page


def test_an_imported_group_and_its_folder_are_judged_by_their_own_settings(
    tmp_path: Path, write: Callable[..., Path], claim: Any
) -> None:
    results = Results(tmp_path / "results")
    folder = official_runs(tmp_path / "winter", n_batches=400)
    import_runs(results, folder, "winter")
    rates = {"high": "optim.lr_max == 0.02", "low": "lrStart == 0.01 or optim.lr_max == 0.01"}
    contrast = {"factor": "rate", "from": "low", "to": "high"}
    claims = write(factors={"rate": rates}, hypotheses={"lower": claim(contrast=contrast)})
    with pytest.raises(ConfigError, match="lrStart"):  # known by the name of ours alone
        judge_runs(claims, ["winter"], results, quiet)
    rates["low"] = "optim.lr_max == 0.01"
    claims = write(factors={"rate": rates}, hypotheses={"lower": claim(contrast=contrast)})
    document = judge_runs(claims, ["winter"], results, quiet)
    one = verdicts(results.of_judged, "judged").loc["lower"]
    assert one["verdict"] == "supported"
    assert one["effect"] == pytest.approx(-0.094)
    history = pd.read_parquet(results.of_judged.ablation("judged") / "history.parquet")
    assert len(history) == 6 * 8 and history["per"].notna().all()
    arms = pd.read_parquet(results.of_judged.ablation("judged") / "arms.parquet")
    assert arms["escape_step_mean"].isna().all()  # nobody recorded when they escaped
    assert document.judged is not None and not document.judged.remarks
    judge_runs(claims, [str(folder)], results, quiet)
    assert verdicts(results.of_judged, "judged").loc["lower", "effect"] == one["effect"]


def test_other_budgets_and_lengths_are_refused_until_they_are_accepted(
    tmp_path: Path, write: Callable[..., Path], claim: Any
) -> None:
    results = Results(tmp_path / "results")
    folder = official_runs(tmp_path / "runs", n_batches=400, longer=800)
    rates = {"a": "optim.lr_max == 0.02", "b": "optim.lr_max == 0.01"}
    keys: dict[str, Any] = {"factors": {"system": rates}, "hypotheses": {"h": claim()}}
    problems = refused(write(**keys), results, folder)
    assert len(problems) == 2
    assert "step budget differs" in problems[0] and "accept: [budgets]" in problems[0]
    assert "length of the course differs" in problems[1]
    claims = write(**keys, accept=["budgets", "lengths"])
    judge_runs(claims, [str(folder)], results, quiet)
    caveats = json.loads(verdicts(results.of_judged, "judged").loc["h", "caveats"])
    assert "the step budget differs: b has 800; a has 400" in caveats


def test_arms_whose_words_are_of_other_trials_are_refused_where_wer_is_judged(
    tmp_path: Path, write: Callable[..., Path], claim: Any, table: Callable[..., Path]
) -> None:
    results = Results(tmp_path / "results")
    header = "system,seed,per,wer,n_reference_words,n_steps"
    rows = [
        f"{row.rpartition(',')[0]},0.{40 + i},{80 + 80 * (i > 2)},100" for i, row in enumerate(ROWS)
    ]
    keys: dict[str, Any] = {"factors": SYSTEMS}
    [problem] = refused(
        write(**keys, hypotheses={"h": claim(outcome="wer")}), results, table(header, *rows)
    )
    assert "words" in problem and "accept: [data]" in problem
    judge_runs(
        write(**keys, hypotheses={"h": claim()}), [str(table(header, *rows))], results, quiet
    )
    caveats = json.loads(verdicts(results.of_judged, "judged").loc["h", "caveats"])
    assert not any("words" in caveat for caveat in caveats)


def test_arms_that_hold_out_other_sessions_are_refused_until_that_is_accepted(
    tmp_path: Path, write: Callable[..., Path], claim: Any, table: Callable[..., Path]
) -> None:
    results = Results(tmp_path / "results")
    header = "system,seed,PER,new days,data.held_out_sessions,n_steps"
    rows = [f"{row.rpartition(',')[0]},0.{40 + i},{1 + (i > 2)},100" for i, row in enumerate(ROWS)]
    keys: dict[str, Any] = {"factors": SYSTEMS, "hypotheses": {"h": claim(outcome="per_held_out")}}
    keys["columns"] = {"per_held_out": "new days"}
    [problem] = refused(write(**keys), results, table(header, *rows))
    assert "sessions held out" in problem and "accept: [data]" in problem
    same = [row.replace(",2,100", ",1,100") for row in rows]
    judge_runs(write(**keys), [str(table(header, *same))], results, quiet)
    effect = verdicts(results.of_judged, "judged").loc["h", "effect"]
    assert effect == pytest.approx(0.03)  # 43, 44, 45 % against 40, 41, 42 %
    judge_runs(write(**keys, accept=["data"]), [str(table(header, *rows))], results, quiet)
    caveats = json.loads(verdicts(results.of_judged, "judged").loc["h", "caveats"])
    assert "the choice of sessions held out differs: b has 2; a has 1" in caveats


def official_runs(root: Path, n_batches: int, longer: int | None = None) -> Path:
    """Two learning rates with three seeds each, as a T12 trainer and its user keep them."""
    for rate, per, spread in ((0.02, 0.2, 0.013), (0.01, 0.3, 0.01)):
        n_steps = longer if longer and rate == 0.01 else n_batches
        for seed in (1, 2, 3):
            folder = root / f"lr{rate}_seed{seed}"
            folder.mkdir(parents=True)
            args = {
                "batchSize": 64, "lrStart": rate, "lrEnd": rate, "nUnits": 256, "nBatch": n_steps,
                "nLayers": 5, "seed": seed, "datasetPath": "/data/ptDecoder",
            }  # fmt: skip
            (folder / "args.yaml").write_text(yaml.safe_dump(args))
            lines = [
                {"step": step, "per": per + spread * seed + 10 / step - 10 / n_steps}
                for step in range(50, n_steps + 1, 50)
            ]
            (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return root


@pytest.mark.parametrize(
    ("keys", "rows", "parts"),
    [
        ({}, ROWS[:5], ("arm b has no run in block 2", "blocks: [0, 1]")),
        ({"block": "day"}, ROWS, ("'day' is no column",)),
        ({"block": "PER"}, ROWS, ("share no block",)),
        ({}, ("a,,0.2,1", *ROWS[3:]), ("has no seed",)),
        ({"where": "hidden == 7"}, ROWS, ("where: no run meets 'hidden == 7'",)),
        ({"where": "hiden == 7"}, ROWS, ("there is no column 'hiden'", "hidden")),
        (
            {"factors": {"system": {"a": "PER > 0.1", "b": "system == 'b'"}}},
            ROWS,
            ("conditions of a and b",),
        ),
        ({"outcome": "val_loss"}, ROWS, ("no run of arm b records 'val_loss'", "columns")),
        ({"outcome": "collapsed"}, ROWS, ("do not record how they ended", "outcome")),
        ({"outcome": "escape_step", "margin": 5}, ROWS, ("do not record when they escaped",)),
        ({"columns": {"per": "PERR"}}, ROWS, ("there is no column 'PERR'", "PER")),
        ({"base": "x.yaml"}, ROWS, ("keys of an ablation", "conditions")),
        ({"blocks": [0, 1], "factors": {"system": {"a": "1 = 2", "b": "hidden"}}}, ROWS, ("a: ",)),
    ],
)
def test_what_cannot_be_paired_or_pooled_is_refused_with_what_mends_it(
    keys: dict[str, Any],
    rows: tuple[str, ...],
    parts: tuple[str, ...],
    tmp_path: Path,
    write: Callable[..., Path],
    claim: Any,
    table: Callable[..., Path],
) -> None:
    changes = {key: keys.pop(key) for key in ("outcome", "margin") if key in keys}
    path = write(**{"factors": SYSTEMS, "hypotheses": {"h": claim(**changes)}, **keys})
    results = Results(tmp_path / "results")
    problems = refused(path, results, table("system,seed,PER,hidden", *rows))
    assert all(part in problems[0] for part in parts), problems
    assert not results.of_judged.ablations.exists()


def test_blocks_may_be_texts_or_conditions(
    tmp_path: Path, write: Callable[..., Path], claim: Any, table: Callable[..., Path]
) -> None:
    results = Results(tmp_path / "results")
    path = table("system,fold,PER,hidden", *(row.replace(",0.", "-f,0.") for row in ROWS))
    keys = {"factors": SYSTEMS, "hypotheses": {"h": claim()}}
    effects = []
    for block in ("fold", {"x": "fold == '2-f'", "y": "fold in ['0-f']", "z": "fold == '1-f'"}):
        document = judge_runs(write(**keys, block=block), [str(path)], results, quiet)
        assert document.judged is not None and len(document.judged.blocks) == 3
        effects.append(verdicts(results.of_judged, "judged").loc["h", "effect"])
    assert effects[0] == pytest.approx(effects[1])
    assert document.judged.blocks["0"] == "x"


def test_runs_that_differ_within_an_arm_are_named(
    tmp_path: Path, store: Results, write: Callable[..., Path], claim: Any
) -> None:
    keys = {
        "factors": {"system": {"a": "augment.white_noise_std == 1.0", "b": "arm == 'user'"}},
        "where": "arm == 'user' or arm == 'official+0.005+sum' and seed < 3 "
        "or arm == 'official+0.002+sum' and seed >= 3",
        "hypotheses": {"h": claim()},
    }
    judge_runs(write(**keys), ["blank_collapse"], store, quiet)
    caveats = json.loads(verdicts(store.of_judged, "judged").loc["h", "caveats"])
    within = next(text for text in caveats if "among themselves" in text)
    assert "optim.lr_max (0.005, 0.002)" in within
    beside = next(text for text in caveats if text.startswith("beside"))
    assert "loss.ctc_reduction" in beside and "white_noise_std" not in beside


def test_a_table_that_says_how_runs_ended_is_judged_on_collapse(
    tmp_path: Path, write: Callable[..., Path], claim: Any, table: Callable[..., Path]
) -> None:
    results = Results(tmp_path / "results")
    rows = [
        f"{s},{i},{'1.0' if s == 'b' else '0.2'},{int(s == 'b')}" for s in "ab" for i in range(4)
    ]
    one = claim(outcome="collapsed", direction="increase", margin=0.5)
    judge_runs(
        write(factors=SYSTEMS, hypotheses={"h": one}),
        [str(table("system,seed,PER,collapsed", *rows))],
        results,
        quiet,
    )
    verdict = verdicts(results.of_judged, "judged").loc["h"]
    assert (verdict["verdict"], verdict["effect"]) == ("supported", 1.0)
