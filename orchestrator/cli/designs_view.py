"""What `plan` says of looks that stop arms: expected runs and hours, beside fixed seeds."""

from collections.abc import Sequence

from rich.console import Console

from orchestrator.driver.preview import DesignCost, Preview
from orchestrator.spec.claims import look_seeds, stops_early
from orchestrator.spec.units import percent
from orchestrator.terminal import print_table, say_to


def print_designs(console: Console, seen: Preview) -> None:
    """Print what the looks of an ablation are expected to cost, and which design is recommended."""
    spec, say = seen.plan.loaded.spec, say_to(console)
    if not stops_early(spec):
        return
    looks = ", ".join(map(str, look_seeds(spec)))
    say(
        f"looks at {looks} seeds: a claim that a look decides stops, and so do arms that no open "
        "claim compares; arms that no claim compares train the seeds of the first look"
    )
    due = f"next look at {seen.next_look} seeds" if seen.next_look else "no look is due"
    n_spare = seen.n_not_needed
    say(f"{due}; {n_spare} run{'s are' if n_spare != 1 else ' is'} not needed")
    if not seen.designs:
        say("expected runs are unknown, as no spread is; give it under 'prior' in the file")
        return
    rows = [
        (
            one.expected.scenario,
            f"{one.expected.n_runs:.0f}",
            _hours(one.hours),
            percent(one.expected.power, 0),
            one.expected.fixed_seeds,
            one.expected.fixed_runs,
            _hours(one.fixed_hours),
        )
        for one in seen.designs
    ]
    titles = ("effects", "runs", "hours", "power", "fixed: seeds", "runs", "hours")
    print_table(console, titles, rows)
    say(recommendation(seen.designs))


def recommendation(designs: Sequence[DesignCost]) -> str:
    """Which design takes fewer runs for the same power, on average over the sizes of effects."""
    runs = sum(one.expected.n_runs for one in designs) / len(designs)
    fixed = sum(one.expected.fixed_runs for one in designs) / len(designs)
    share = f"{runs:.0f} runs on average over these effects, fixed seeds {fixed:.0f}"
    if runs <= fixed:
        return f"recommended: these looks ({share})"
    most = max(one.expected.fixed_seeds for one in designs)
    return f"recommended: fixed seeds, {most} of them (the looks take {share})"


def _hours(hours: float | None) -> str:
    return "unknown" if hours is None else f"{hours:.3g}"
