"""What forbids comparing the arms of a hypothesis, and what else differs between them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from decoder.config import config_paths
from decoder.pack import WORD_COLUMNS
from orchestrator.query.compare.arm_differences import (
    not_recorded,
    other_differences,
    setting_text,
)
from orchestrator.query.compare.sides import SideArm, make_arm
from orchestrator.query.judge.candidates import Candidate
from orchestrator.query.judge.claims_file import ClaimsFile
from orchestrator.query.judge.placing import Placement
from orchestrator.spec.claims import is_share
from orchestrator.spec.compared import Compared
from orchestrator.spec.names import listed
from orchestrator.spec.schema import Hypothesis
from orchestrator.stats.run_values import COUNTED
from orchestrator.tables.run_row import RunRow, varying_paths

_MOST_NAMED = 8
_BLOCKS = "blocks"


class _Kind(NamedTuple):
    """Something that all runs of a comparison must share.

    Attributes:
        what: what it is called.
        accept: the word in ``accept`` that judges arms in spite of it.
        of: the value of a run; None where it is not recorded.
    """

    what: str
    accept: str
    of: Callable[[RunRow], object]


_KINDS = (
    _Kind("step budget", "budgets", lambda run: _whole(run.number("n_steps"))),
    _Kind("data", "data", lambda run: run.dataset or run.dataset_path),
    _Kind("choice of sessions held out", "data", lambda run: _held_out(run)),
    _Kind(
        "length of the course",
        "lengths",
        lambda run: _whole(run.number("n_steps_done")) if run.outcome != "diverged" else None,
    ),
)

# Half of the trials if weights of the search were chosen, else all.
_WORDS = _Kind(
    "number of words that WER is of", "data", lambda run: _whole(run.number("n_reference_words"))
)


def _kinds(outcome: str) -> tuple[_Kind, ...]:
    return (*_KINDS, _WORDS) if outcome in WORD_COLUMNS else _KINDS


def side_arms(placement: Placement) -> dict[str, SideArm]:
    """Arm → its runs, with the settings on which they agree.

    A column of numbers of which nothing says what it holds counts as a setting if it has one value
    in each arm.
    """
    members = {arm: [run.candidate for run in placement.of_arm(arm)] for arm in placement.arms}
    unsure = dict.fromkeys(n for run in placement.runs for n in run.candidate.unsure)
    results = {
        name
        for name in unsure
        if any(len({str(c.cells.get(name)) for c in of_arm}) > 1 for of_arm in members.values())
    }
    return {
        arm: make_arm(arm, placement.arms[arm], [_without(c, results) for c in of_arm])
        for arm, of_arm in members.items()
    }


def _without(candidate: Candidate, names: set[str]) -> RunRow:
    settings = {n: v for n, v in candidate.run.settings.items() if n not in names}
    return candidate.run._replace(settings=settings)


def find_obstacles(
    claims: ClaimsFile,
    placement: Placement,
    compared: Mapping[str, Sequence[Compared]],
    path: Path,
) -> list[str]:
    """Complaints about arms that cannot be paired or pooled, with what mends each.

    Args:
        compared: hypothesis → the arms it compares.
        path: the claims file, for messages.
    """
    found = [*_gaps_in_blocks(placement, compared)]
    for name, parts in compared.items():
        outcome = claims.hypotheses[name].outcome
        runs = {part.arm_id: placement.of_arm(part.arm_id) for part in parts}
        of_arms = {arm: [run.candidate for run in own] for arm, own in runs.items()}
        found += [
            f"hypotheses.{name}: {text}" for text in _differ(of_arms, claims, _kinds(outcome))
        ]
        found += [
            f"hypotheses.{name}.outcome: {text}"
            for text in _lacking(claims.hypotheses[name], of_arms)
        ]
    return [f"{path}: {text}" for text in dict.fromkeys(found)]


def _gaps_in_blocks(
    placement: Placement, compared: Mapping[str, Sequence[Compared]]
) -> Iterator[str]:
    """A complaint for each arm compared that lacks a block which another one has."""
    arms = dict.fromkeys(part.arm_id for parts in compared.values() for part in parts)
    blocks = {arm: {run.block for run in placement.of_arm(arm)} for arm in arms}
    shared = sorted(set.intersection(*blocks.values()))
    names = placement.block_names
    for arm, own in blocks.items():
        if lacks := [block for block in placement.blocks if block not in own]:
            mend = (
                f"write blocks: [{listed(shared)}] to judge those that all arms share"
                if shared
                else "the arms share no block: if their runs are independent, number them in a "
                "column of their own and name it with 'block'; pairing then saves nothing"
            )
            shown = listed(names.get(str(block), block) for block in lacks)
            yield (
                f"block: arm {arm} has no run in block {shown}, which other arms have; {mend}, or "
                "name the runs that are missing"
            )


def _differ(
    of_arms: Mapping[str, Sequence[Candidate]], claims: ClaimsFile, kinds: Sequence[_Kind]
) -> Iterator[str]:
    """Complaints about budgets, data and lengths that are not the same in all arms."""
    for kind in kinds:
        texts = _values(of_arms, kind)
        if len(set().union(*texts.values())) > 1 and kind.accept not in claims.accept:
            shown = "; ".join(f"{arm} has {listed(sorted(own))}" for arm, own in texts.items())
            yield (
                f"the {kind.what} differs ({shown}); narrow 'where' to one, or write "
                f"accept: [{kind.accept}], which the report then says"
            )


def _held_out(run: RunRow) -> str | None:
    """Which sessions a run holds out; None if its settings do not say, as of other trainers."""
    path = "data.held_out_sessions"
    value = run.settings.get(path)
    if value is None:
        return "none" if path in run.settings else None
    return str(int(value) if isinstance(value, float) else value)


def _values(of_arms: Mapping[str, Sequence[Candidate]], kind: _Kind) -> dict[str, set[str]]:
    return {
        arm: {
            str(value)
            for one in own
            if one.run.outcome in COUNTED and (value := kind.of(one.run)) is not None
        }
        for arm, own in of_arms.items()
    }


def _lacking(hypothesis: Hypothesis, of_arms: Mapping[str, Sequence[Candidate]]) -> Iterator[str]:
    """Complaints about an outcome that an arm does not have."""
    outcome = hypothesis.outcome
    for arm, runs in of_arms.items():
        counted = [one for one in runs if one.run.outcome in COUNTED]
        if is_share(outcome) or outcome == "escape_step":
            needed = "outcome" if is_share(outcome) else outcome
            without = [one.run.run_id for one in counted if needed not in one.known]
            if without:
                what = "how they ended" if is_share(outcome) else "when they escaped"
                yield (
                    f"{len(without)} runs of arm {arm} do not record {what} "
                    f"({listed(without[:3])}); give the table a column '{needed}', or claim "
                    "something about 'per'"
                )
        elif counted and all(_number(one, outcome) is None for one in counted):
            yield (
                f"no run of arm {arm} records '{outcome}' (they record: "
                f"{listed(sorted(_numbers(counted[0])))}); name a column of the table under "
                "'columns', or another outcome"
            )


def _number(candidate: Candidate, outcome: str) -> float | None:
    if outcome != "per" and candidate.run.outcome == "diverged":
        return None
    return candidate.run.number(outcome)


def _numbers(candidate: Candidate) -> list[str]:
    """What a claim may be about; neither times nor facts of the machine."""
    run = candidate.run
    names = (name for name in run.results if not name.startswith(("host_", "timing_")))
    return [name for name in names if run.number(name) is not None]


def find_caveats(
    hypothesis: Hypothesis,
    parts: Sequence[Compared],
    arms: Mapping[str, SideArm],
    placement: Placement,
    claims: ClaimsFile,
) -> tuple[str, ...]:
    """What else differs between the arms of a hypothesis, by name, and what is not recorded.

    Args:
        parts: the arms it compares.
        arms: `side_arms` of the placement.
    """
    found: list[str] = []
    pairs = [(1, 0)] if hypothesis.interaction is None else [(1, 0), (3, 2)]
    asked = placement.asked[hypothesis.contrast.factor]
    for before, after in pairs:
        a, b = arms[parts[before].arm_id], arms[parts[after].arm_id]
        found += _beside(a, b, sorted(asked))
    if hypothesis.interaction is not None:
        a, b = arms[parts[3].arm_id], arms[parts[1].arm_id]
        found += _beside(a, b, sorted(placement.asked[hypothesis.interaction.factor]))
    compared = [arms[part.arm_id] for part in parts]
    found += [text for arm in compared for text in _within(arm)]
    lacking = not_recorded(compared)
    runs = [run for arm in compared for run in arm.runs if run.outcome in COUNTED]
    of_arms = {
        part.arm_id: [run.candidate for run in placement.of_arm(part.arm_id)] for part in parts
    }
    for kind in _kinds(hypothesis.outcome):
        if kind.what != "data" and any(
            kind.of(run) is None for run in runs if run.outcome != "diverged"
        ):
            lacking.append(kind.what)
        elif (
            kind.what == "data"
            and kind.what not in lacking
            and any(kind.of(run) is None for run in runs)
        ):
            found.append("some runs do not record their data")
        texts = _values(of_arms, kind)
        if kind.what != "data" and len(set().union(*texts.values())) > 1:
            shown = "; ".join(f"{arm} has {listed(sorted(own))}" for arm, own in texts.items())
            found.append(f"the {kind.what} differs: {shown}")
    if lacking:
        found.append(f"not recorded, so it may differ: {listed(lacking)}")
    if not any(arm.config for arm in compared):
        found.append("no settings are recorded, so what else differs is not known")
    return tuple(dict.fromkeys(found))


def _beside(a: SideArm, b: SideArm, asked: Sequence[str]) -> list[str]:
    """What differs from one arm to another beside the columns that the conditions ask about."""
    others = [str(one) for one in other_differences(a, b, asked)]
    if not others:
        return []
    more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
    text = "; ".join(others[:_MOST_NAMED])
    return [f"beside the conditions, {a.name} → {b.name} differ in {text}{more}"]


def _within(arm: SideArm) -> Iterator[str]:
    """Settings in which the runs of one arm differ among themselves."""
    marks = config_paths()
    settings = [run.settings for run in arm.runs]
    varying = [
        path
        for path in varying_paths(settings)
        if path not in marks or not marks[path].not_identity
    ]
    parts = []
    for path in varying[:_MOST_NAMED]:
        values = dict.fromkeys(setting_text(own.get(path)) for own in settings)
        parts.append(f"{path} ({listed(list(values)[:4])})")
    if parts:
        more = f" and {len(varying) - _MOST_NAMED} more" if len(varying) > _MOST_NAMED else ""
        yield f"the runs of {arm.name} differ among themselves in {listed(parts)}{more}"


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
