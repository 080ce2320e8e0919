"""The progress display of a running ablation: a live table on a terminal, else plain lines."""

import math
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from decoder.pack import HistoryRow, Progress
from orchestrator.execute.backends import PackEvent
from orchestrator.spec.configuration import CommandConfig, Pack, n_steps_of
from orchestrator.terminal import say_to, time_text

PLAIN_EVERY_SECONDS = 10.0


@dataclass
class _PackState:
    """The progress of one pack; parts that train one after the other differ in their steps."""

    pack: Pack
    steps: dict[str, int] = field(default_factory=dict)  # of the runs that have trained
    latest: dict[str, HistoryRow] = field(default_factory=dict)
    open_runs: set[str] = field(default_factory=set)
    started: bool = False

    @property
    def is_running(self) -> bool:
        return self.started and bool(self.open_runs)

    @property
    def step(self) -> int:
        """The step of the runs that train now."""
        return max((self.steps.get(run_id, 0) for run_id in self.open_runs), default=0)

    def training_now(self) -> list[str]:
        """The runs that are furthest: all of a pack, or those of the part that trains."""
        return [run_id for run_id in self.open_runs if self.steps.get(run_id, 0) == self.step]

    @property
    def n_steps(self) -> int:
        return max(n_steps_of(run.config) for run in self.pack.runs)

    def work_done(self) -> int:
        """Steps trained, summed over the runs; a run that has ended counts in full."""
        return sum(
            min(self.steps.get(run.run_id, 0), n_steps_of(run.config))
            if run.run_id in self.open_runs
            else n_steps_of(run.config)
            for run in self.pack.runs
        )


class Display:
    """Follows the events of packs and shows their progress.

    Args:
        console: a terminal gets a live table, anything else a line every ten seconds.
        n_recorded: runs of the plan that were recorded before.
        clock: gives monotonic seconds.
    """

    def __init__(
        self,
        console: Console,
        packs: Sequence[Pack],
        n_recorded: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self.say = say_to(console)  # above the live table
        self._clock = clock
        self._states = {
            pack.pack_id: _PackState(pack, open_runs={run.run_id for run in pack.runs})
            for pack in packs
        }
        self._metrics = _shown_metrics(packs)
        self._n_recorded = n_recorded
        self._n_failed = 0
        self._work = sum(n_steps_of(run.config) for pack in packs for run in pack.runs)
        self._first: tuple[float, int] | None = None  # time and work done at the first event
        self._last_line = clock()
        self._live: Live | None = None

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self.render,
                refresh_per_second=2,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, event: PackEvent) -> None:
        """Show the event of a pack."""
        state = self._states[event.pack_id]
        state.started = True
        if isinstance(event.what, Progress):
            moved = event.what.latest or state.training_now()
            state.steps = {**state.steps, **dict.fromkeys(moved, event.what.step)}
            state.latest = {**state.latest, **event.what.latest}
            state.open_runs = state.open_runs - {run.run_id for run in event.what.finished}
            for run in event.what.finished:
                if run.status == "diverged":
                    self.say(
                        f"run {run.run_id} diverged at step {run.n_steps_done}; this is recorded "
                        "as its result, and the other runs of its pack continue"
                    )
        else:
            state.open_runs = state.open_runs - set(event.what.run_ids)
            self._n_failed += len(event.what.run_ids)
            reason = event.what.traceback.strip().splitlines()[-1:]
            n_runs, n_attempts = len(event.what.run_ids), event.what.n_attempts
            self.say(
                f"pack {event.pack_id[:6]} (seed {state.pack.seed}): {n_runs} "
                f"run{'s' * (n_runs != 1)} failed after {n_attempts} "
                f"attempt{'s' * (n_attempts != 1)}: {' '.join(reason)}"
            )
        now = self._clock()
        if self._first is None:
            self._first = (now, self._done())
        if self._live is None and now - self._last_line >= PLAIN_EVERY_SECONDS:
            self._last_line = now
            self.say(self.line())

    def note_recorded(self, run_ids: Collection[str]) -> None:
        """Count runs that another driver has recorded as done."""
        for state in self._states.values():
            state.open_runs = state.open_runs - set(run_ids)

    @property
    def n_running(self) -> int:
        """Runs that have not ended, in packs that have started."""
        return sum(len(state.open_runs) for state in self._states.values() if state.is_running)

    @property
    def steps(self) -> tuple[int, int]:
        """Steps done and to do in all, summed over the runs to train."""
        return self._done(), self._work

    def seconds_left(self) -> float | None:
        """Estimated seconds left, from the pace since the first event; None while unknown."""
        if self._first is None:
            return None
        since, done_then = self._first
        done, elapsed = self._done(), self._clock() - since
        if done <= done_then or elapsed <= 0:
            return None
        return (self._work - done) * elapsed / (done - done_then)

    def line(self) -> str:
        """The progress of all packs as one line of plain text."""
        running = [state for state in self._states.values() if state.is_running]
        parts = [self._counts()]
        for state in running[:4]:
            shown = [f"step {state.step}/{state.n_steps}"]
            shown += [f"{name} {_range(state.latest, key)}" for key, name, _ in self._metrics]
            parts.append(f"seed {state.pack.seed}: {', '.join(shown)}")
        parts += [f"and {len(running) - 4} more packs"] if len(running) > 4 else []
        return " | ".join([*parts, self._left()])

    def render(self) -> RenderableType:
        """The live table."""
        table = Table(box=None, pad_edge=False)
        for title in ("pack", "seed", "runs", "step", *(title for _, _, title in self._metrics)):
            table.add_column(title, justify="left" if title == "pack" else "right")
        for state in self._states.values():
            if state.is_running:
                table.add_row(
                    state.pack.pack_id[:6],
                    str(state.pack.seed),
                    str(len(state.open_runs)),
                    f"{state.step}/{state.n_steps}",
                    *(_range(state.latest, key) for key, _, _ in self._metrics),
                )
        bar = ProgressBar(total=max(self._work, 1), completed=self._done(), width=40)
        return Group(table, bar, Text(f"{self._counts()} | {self._left()}"))

    def _counts(self) -> str:
        states = self._states.values()
        n_trained = sum(len(s.pack.runs) - len(s.open_runs) for s in states) - self._n_failed
        n_runs = self._n_recorded + sum(len(state.pack.runs) for state in states)
        text = f"{self._n_recorded + n_trained} of {n_runs} runs"
        text += f", {sum(not s.open_runs for s in states)} of {len(self._states)} packs"
        return text + (f", {self._n_failed} runs failed" if self._n_failed else "")

    def _left(self) -> str:
        left = self.seconds_left()
        return "starting" if left is None else f"{time_text(left)} left"

    def _done(self) -> int:
        return sum(state.work_done() for state in self._states.values())


def _shown_metrics(packs: Sequence[Pack]) -> list[tuple[str, str, str]]:
    """Two metrics to show: column of a history, name in a line, title in the table.

    Of a trainer of the user's these are the first of those that it reports.
    """
    usual = [("per", "PER", "PER (range)"), ("emitted_ratio", "emitted", "emitted / target")]
    config = packs[0].runs[0].config if packs else None
    if not isinstance(config, CommandConfig):
        return usual
    mapped = [name for name in config.trainer.metrics if name not in ("step", "per")]
    others = [(name, name, f"{name} (range)") for name in mapped]
    return [*(usual[:1] if "per" in config.trainer.metrics else ()), *others][:2]


def _range(latest: Mapping[str, HistoryRow], name: str) -> str:
    """Median and range over the runs of a pack, such as ``0.31 (0.25–0.80)``; ``–`` if none."""
    values = sorted(row[name] for row in latest.values() if not math.isnan(row[name]))
    if not values:
        return "–"
    middle = f"{statistics.median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({values[0]:.2f}–{values[-1]:.2f})"
