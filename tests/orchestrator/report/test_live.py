"""The page of an ablation while it trains: what it shows, and what it does not show yet."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from browser import answer_of, needs_axe, needs_chromium, violations

from orchestrator.report.claim_states import open_claims
from orchestrator.report.claim_verdicts import decided_claims
from orchestrator.report.live import Failure, Live, live_curves, write_live_page

Build = Callable[..., Any]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EVIL = '"><img src=x onerror="document.title=1"><script>document.title=1</script>'
WORDS = ("supported", "refuted", "inconclusive")


def points(text: str) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in text.split()]  # type: ignore[misc]


def page_of(folder: Path, **facts: Any) -> str:
    live = Live(
        **{
            "name": "small",
            "question": "Does it?",
            "kind": "ablation",
            "written": NOW,
            "every_seconds": 30.0,
            **facts,
        }
    )
    return write_live_page(folder, live).read_text()


def body(html: str) -> str:
    return re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.S)


def states(made: Any) -> Any:
    plan, records, histories = made
    done = {run_id for run_id, record in records.items() if record["status"] != "failed"}
    return decided_claims(plan, records, histories, open_claims(plan, done))


def without(made: Any, keep: Callable[[Any], bool]) -> Any:
    """The ablation without the records of the runs that are not kept."""
    kept = {run.run_id for run in made.plan.runs if keep(run)}
    return made._replace(
        records={i: r for i, r in made.records.items() if i in kept},
        histories={i: h for i, h in made.histories.items() if i in kept},
    )


def test_a_curve_is_the_median_and_the_band_of_the_seeds_so_far() -> None:
    courses = {
        "a": {1: {10: 0.9, 20: 0.5}, 2: {10: 0.7, 20: 0.1}, 3: {10: 0.8}},
        "b": {1: {10: 1.0, 40: float("nan")}},
        "empty": {1: {}},
    }
    first, second = live_curves(courses, "per")
    assert (first.arm, first.n_seeds, second.arm, second.n_seeds) == ("a", 3, "b", 1)
    # At step 10 the median is 0.8; at step 20, the last step of all, it is 0.3 of two seeds.
    assert points(first.drawing.line) == [(50.0, 6.0), (100.0, 21.0)]
    assert points(first.drawing.band) == [(50.0, 3.0), (100.0, 15.0), (100.0, 27.0), (50.0, 9.0)]


def test_a_diverged_run_counts_with_an_error_rate_of_one_from_its_end_on() -> None:
    courses = {"a": {1: {10: 0.4, 20: 0.2}, 2: {10: 0.4}}}
    [curve] = live_curves(courses, "per", frozenset({("a", 2)}))
    assert points(curve.drawing.band)[1] == (100.0, 0.0)
    [other] = live_curves(courses, "emitted_ratio", frozenset({("a", 2)}))
    assert points(other.drawing.band)[1] == points(other.drawing.line)[1]


def test_a_claim_is_open_with_the_seeds_that_every_arm_of_it_has(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    made = build(two_arm_spec, lambda *_: truth())
    seeds = made.plan.spec.seeds
    arm = made.plan.compared["h"][0].arm_id
    part = without(made, lambda run: run.block == seeds[0] or run.arm_id == arm)
    [state] = open_claims(part.plan, part.records).values()
    assert (state.n_seeds, state.n_planned, state.answer) == (1, len(seeds), None)


def test_no_word_is_given_before_the_rule_has_decided(
    build: Build, truth: Any, two_arm_spec: dict[str, Any], tmp_path: Path
) -> None:
    made = build(two_arm_spec, lambda levels, _: truth(per=0.2 + 0.3 * ("b" in str(levels))))
    part = without(made, lambda run: run.block != made.plan.spec.seeds[-1])
    found = states(part)
    assert all(state.answer is None for state in found.values())
    shown = body(page_of(tmp_path, claims=tuple(found.values())))
    assert not [word for word in WORDS if word in shown]
    [state] = found.values()
    assert f"{state.n_seeds} of {state.n_planned} seeds" in shown and "<svg" not in shown


def test_a_decided_claim_shows_its_word_while_others_are_open(twelve_arms: Any) -> None:
    whole = states(twelve_arms)
    words = {name: state.answer.word for name, state in whole.items()}
    assert set(words.values()) & {"supported", "refuted"}
    decided = next(name for name, word in words.items() if word == "supported")
    arms = {part.arm_id for part in twelve_arms.plan.compared[decided]}
    part = states(without(twelve_arms, lambda run: run.arm_id in arms))
    for name, state in part.items():
        is_whole = {p.arm_id for p in twelve_arms.plan.compared[name]} <= arms
        assert is_whole or state.answer is None
        if state.answer is not None:
            assert state.answer.word == words[name], "further runs do not change it"


def test_an_inconclusive_claim_stays_open_until_its_family_is_whole(
    build: Build, truth: Any, two_arm_spec: dict[str, Any]
) -> None:
    claim = two_arm_spec["hypotheses"]["h"]
    wide = lambda *_: truth(spread=0.25)  # noqa: E731
    alone = states(build(two_arm_spec, wide))["h"]
    assert alone.answer is not None and alone.answer.word == "inconclusive"
    factor = claim["contrast"]["factor"]
    factors = two_arm_spec["factors"]
    more = {**factors, factor: {**factors[factor], "third": {"optim.epsilon": 1e-5}}}
    other = {**claim, "contrast": {**claim["contrast"], "to": "third"}}
    spec = {**two_arm_spec, "factors": more, "hypotheses": {"h": claim, "other": other}}
    made = build(spec, wide)
    arms = {part.arm_id for part in made.plan.compared["h"]}
    part = states(without(made, lambda run: run.arm_id in arms))
    assert part["h"].n_seeds == part["h"].n_planned and part["h"].answer is None
    assert states(made)["h"].answer.word == "inconclusive"


def test_the_page_has_counts_time_left_and_the_first_lines_of_failures(tmp_path: Path) -> None:
    html = page_of(
        tmp_path,
        n_runs=10,
        n_done=4,
        n_failed=1,
        n_running=3,
        steps=(1200, 4000),
        seconds_left=600.0,
        failures=(Failure("a, seed 1", "RuntimeError: out of memory"),),
    )
    text = " ".join(re.sub(r"<[^>]+>", " ", body(html)).split())
    assert "4 of 10 runs" in text and "3 runs under way" in text and "2 to do" in text
    assert "10 min" in text and "1,200 of 4,000" in text
    assert "a, seed 1" in text and "RuntimeError: out of memory" in text
    assert f'data-written="{int(NOW.timestamp() * 1000)}"' in html and 'data-every="30.0"' in html


def test_a_page_of_training_that_ended_loads_no_more(tmp_path: Path) -> None:
    html = page_of(tmp_path, ended="It was killed.", seconds_left=10.0)
    assert "data-written" not in html.split("<head>")[0]
    assert "It was killed." in html and "10 s left" not in html
    assert "2026-01-02 03:04:05 UTC" in html


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    curves = live_curves({EVIL: {1: {10: 0.5}}}, "per")
    failures = (Failure(EVIL, EVIL),)
    html = page_of(tmp_path, name=EVIL, question=EVIL, ended=EVIL, curves=curves, failures=failures)
    assert html.count("<script>") == 1 and "<img" not in html
    assert body(html).count("&lt;script&gt;") >= 5


@needs_chromium
def test_the_page_loads_again_and_keeps_its_place(tmp_path: Path, twelve_arms: Any) -> None:
    page_of(
        tmp_path,
        written=datetime.now(UTC),
        every_seconds=1.0,
        claims=tuple(states(twelve_arms).values()),
        curves=live_curves({f"arm {n}": {1: {10: 0.5}} for n in range(60)}, "per"),
    )
    script = """
      const n = Number(sessionStorage.getItem('n') ?? 0);
      sessionStorage.setItem('n', n + 1);
      const found = [...document.querySelectorAll('details')];
      if (n === 0) { found[1].open = true; scrollTo(0, 400); }
      else answer([n, scrollY, found.map((one) => one.open)]);
    """
    n, y, is_open = answer_of(tmp_path / "report.html", tmp_path / "copy", script)
    assert n >= 1 and y == 400
    assert len(is_open) > 2 and [at for at, one in enumerate(is_open) if one] == [1]


@needs_chromium
def test_a_page_whose_writer_is_dead_says_so_and_stops(tmp_path: Path) -> None:
    page_of(tmp_path, every_seconds=1.0, seconds_left=60.0)
    script = """
      const n = Number(sessionStorage.getItem('n') ?? 0);
      sessionStorage.setItem('n', n + 1);
      await new Promise((go) => setTimeout(go, 8000));
      const shown = (one) => !document.querySelector(one).hidden;
      answer([n, shown('[data-stale]'), shown('[data-going]')]);
    """
    assert answer_of(tmp_path / "report.html", tmp_path / "copy", script) == [0, True, False]


@needs_chromium
@needs_axe
@pytest.mark.parametrize("ended", ["", "It was killed."])
def test_axe_finds_nothing_serious(tmp_path: Path, twelve_arms: Any, ended: str) -> None:
    claims = states(twelve_arms)
    first = next(iter(claims))
    claims[first] = claims[first]._replace(answer=None)
    page_of(
        tmp_path,
        ended=ended,
        written=datetime.now(UTC),
        steps=(1, 2),
        claims=tuple(claims.values()),
        curves=live_curves({"a": {1: {10: 0.5}}}, "per"),
        failures=(Failure("a, seed 1", "RuntimeError"),),
    )
    found = violations(tmp_path / "report.html", tmp_path / "copy")
    assert not [one for one in found if one.startswith(("serious", "critical"))]


def test_what_is_left_is_counted_up_to_the_next_look(tmp_path: Path) -> None:
    facts: dict[str, Any] = {"n_runs": 48, "n_done": 4, "steps": (30, 90), "seconds_left": 60.0}
    before_look = body(page_of(tmp_path, next_look=6, **facts))
    assert before_look.count("the look at 6 seeds") == 2 and "at most 44 to do" in before_look
    whole = body(page_of(tmp_path, **facts))
    assert "look at" not in whole and "at most 44" not in whole and "44 to do" in whole
