"""`orchestrator.store.mixing`: runs of different sources are kept apart."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.plan.document import PlanDocument
from orchestrator.store.mixing import (
    kept_of_present,
    machines_text,
    mixed_claims,
    select_for_report,
    select_present,
    sources_text,
)
from orchestrator.store.provenance import environment
from orchestrator.store.sources import training_sha256

OTHER, THIRD = "1" * 64, "2" * 64


def record(source: str, status: str = "ok", torch: str = "2.13.0", device: str = "cpu") -> Any:
    code = {"decoder_sha256": source, "training_sha256": source, "git_commit": None}
    return {
        "status": status,
        "config": {},
        "environment": {"torch": torch, "code": code},
        "host": {"device": device},
    }


def records(*sources: str) -> dict[str, Any]:
    present = training_sha256()
    return {str(n): record(source or present) for n, source in enumerate(sources)}


def test_run_uses_results_of_the_present_sources_and_failures_of_any() -> None:
    every = records("", OTHER, "", THIRD) | {"x": record(OTHER, "failed")}
    used, others = select_present(every, allow_mixed=False)
    assert (list(used), list(others)) == (["0", "2", "x"], ["1", "3"])
    assert select_present(every, allow_mixed=True) == (every, {})


def test_a_run_of_a_command_is_of_no_other_sources_since_its_code_is_in_its_id() -> None:
    every = {"0": {**record(OTHER), "config": {"trainer": {}, "settings": {}}}, "1": record(OTHER)}
    used, others = select_present(every, allow_mixed=False)
    assert (list(used), list(others)) == (["0"], ["1"])


@pytest.mark.parametrize(
    ("sources", "used"),
    [
        ((OTHER, OTHER), "01"),
        ((OTHER, OTHER, ""), "2"),
        ((OTHER, THIRD, THIRD), "12"),
        ((), ""),
    ],
)
def test_a_report_uses_the_present_sources_or_else_those_of_most_runs(
    sources: tuple[str, ...], used: str
) -> None:
    every = records(*sources)
    assert "".join(select_for_report(every, allow_mixed=False).used) == used
    assert select_for_report(every, allow_mixed=True).used == every


def test_records_without_a_known_source_are_of_one_other_source() -> None:
    every = records("", "")
    every["0"]["environment"] = {}
    every["1"]["environment"] = environment()
    assert list(select_present(every, allow_mixed=False).others) == ["0"]


def test_only_claims_whose_runs_differ_in_source_among_themselves_are_mixed(
    two_arm_spec: dict[str, Any], build: Callable[..., Any], truth: Any
) -> None:
    factors = {"loss": {"sum": {}, "mean": {"loss.ctc_reduction": "mean"}}}
    factors["width"] = {"small": {}, "large": {"model.n_units": 96}}
    claim = two_arm_spec["hypotheses"]["h"]
    claims = {level: {**claim, "where": {"width": level}} for level in ("small", "large")}
    spec = {**two_arm_spec, "factors": factors, "hypotheses": claims}
    made = build(spec, lambda levels, arm: truth())
    plan: PlanDocument = made.plan
    large = {run.run_id for run in plan.runs if "large" in run.arm_id}
    assert mixed_claims(plan, made.records) == ()
    for run_id in large:
        made.records[run_id]["environment"] = record(OTHER)["environment"]
    assert mixed_claims(plan, made.records) == ()
    made.records[min(large)]["environment"] = record(THIRD)["environment"]
    assert mixed_claims(plan, made.records) == ("large",)
    made.records[min(large)]["status"] = "failed"
    assert mixed_claims(plan, made.records) == ()


def test_the_number_of_other_runs_and_their_commits_are_said() -> None:
    others = records(OTHER, THIRD)
    assert sources_text(others, 7).startswith("2 of 7 ")
    others["0"]["environment"]["code"]["git_commit"] = "abcdef0123456"
    assert "commit abcdef0123)" in sources_text(others, 7)


@pytest.mark.parametrize(
    ("torch", "device", "texts"),
    [
        (None, None, []),
        ("2.13.4+cu130", "cpu", []),
        ("2.14.0", None, ["2.13 (2 runs), 2.14 (now)"]),
        (None, "NVIDIA H100", ["NVIDIA H100 (now), cpu (2 runs)"]),
        ("2.12.0", "mps", ["2.12 (now), 2.13 (2 runs)", "cpu (2 runs), mps (now)"]),
    ],
)
def test_minor_versions_of_pytorch_and_devices_are_compared(
    torch: str | None, device: str | None, texts: list[str]
) -> None:
    done = [record(OTHER, torch="2.13.0"), record(OTHER, torch="2.13.1+cpu")]
    failed = record(OTHER, "failed", torch="1.0", device="elsewhere")
    said = machines_text([*done, failed], torch, device)
    assert [text.split(": ")[1] for text in said] == texts


def test_different_kernels_are_named_and_records_without_one_say_nothing() -> None:
    old, fused, batched = record(OTHER), record(OTHER), record(OTHER)
    fused["environment"]["kernel"] = "fused"
    batched["environment"]["kernel"] = "batched"
    assert machines_text([old, fused, fused]) == ()
    [text] = machines_text([old, fused, batched, fused])
    assert text.split(": ")[1] == "batched (1 run), fused (2 runs)"


def test_no_former_results_are_found_where_none_are_kept(store: Any) -> None:
    run_ids = [path.name for path in store.runs.iterdir()]
    assert kept_of_present(store, run_ids) == {}
