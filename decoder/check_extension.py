"""Tries a file of the user's parts as training uses them, and says what would go wrong later.

Each part is trained for a few steps on generated recordings, alone and in a pack of three runs.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from decoder.api import open_recordings
from decoder.config import DecoderConfig, override, paths_of, resolve, with_extensions
from decoder.data.prefetch import batches_of
from decoder.data.store import Dataset
from decoder.data.trials import Trials
from decoder.entries import KIND, OWN_METRIC, USE
from decoder.errors import ConfigError
from decoder.extensions import explain_crash, grouped, load_extensions
from decoder.model.own_parts import OwnPart
from decoder.pack import HistoryRow, Pack, Run
from decoder.part_calls import PartError
from decoder.parts import MODULES, Part
from decoder.state import PackState
from decoder.step import step_gradients, update_weights
from decoder.train import choose_device, train
from decoder.trial_steps import Steps, apart, not_repeated, not_resumed

N_STEPS = 4
_SEED = 1
_SMALL = {
    "data.path": "synthetic:tiny",
    "data.batch_size": 8,
    "data.days_per_batch": 2,
    "model.n_units": 12,
    "model.n_layers": 1,
    "optim.lr_warmup_steps": 0,
    "optim.lr_max": 1e-3,
    "train.n_steps": N_STEPS,
    "train.eval_every_steps": 2,
}


class Finding(NamedTuple):
    """What one check of one part found.

    Attributes:
        part: ``KIND 'NAME'``, or the file for a check of all of it.
        check: what was tried.
        problem: what is wrong and how to mend it; empty if nothing is.
        note: what was seen; a remark if the check passed.
    """

    part: str
    check: str
    problem: str = ""
    note: str = ""


def check_extension(
    files: Sequence[str], device: str | None = None, folder: Path | None = None
) -> Iterator[Finding]:
    """Try every part that some files register.

    Args:
        files: Python files, as a configuration would list them together.
        device: a torch device; None takes the GPU if there is one.
        folder: where relative paths start; None takes the working directory.

    Yields:
        A finding for each check, in the order of the parts.

    Raises:
        ConfigError: a file cannot be loaded, or registers nothing.
    """
    before = _global_state()
    base = override(DecoderConfig(), _SMALL)
    base = with_extensions(base, files, folder or Path.cwd())
    changed = [name for name, value in _global_state().items() if value != before[name]]
    yield Finding(
        ", ".join(files),
        "loading changes nothing else",
        f"loading it changed {', '.join(changed)} of this process, so that other runs would "
        "depend on it; move what does so into a function of a part"
        if changed
        else "",
    )
    parts = load_extensions(base)
    if not parts:
        raise ConfigError(
            f"{', '.join(files)}: registers no part; decorate a function or class with one of "
            "decoder.parts, for example @augmentation('my_noise')"
        )
    where = choose_device(device)
    with tempfile.TemporaryDirectory() as place:
        recordings = open_recordings(base, Path(place, "datasets"))
        for part in parts.values():
            trial = _Trial(part, base, recordings, where, Path(place, "checkpoints"))
            yield from trial.findings()


def _global_state() -> dict[str, Any]:
    """What a file must not change by being loaded."""
    return {
        "the random numbers": torch.get_rng_state().numpy().tobytes(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch's gradients": torch.is_grad_enabled(),
    }


@dataclass
class _Trial:
    """One part under trial."""

    part: Part
    base: DecoderConfig
    recordings: Dataset
    device: torch.device
    folder: Path

    def findings(self) -> Iterator[Finding]:
        """Every check, up to the first after which the others could not be made."""
        name = self.part.name
        used = resolve(override(self.base, {f"parts.{name}.{USE}": True}))
        others = self._per_run(used)
        of_pack = [
            used,
            override(others, {"optim.lr_max": 2e-3}),
            override(used, {"optim.lr_max": 5e-4}),
        ]
        try:
            alone = self._steps([used])
            rows = [self._history([used])]
        except Exception as error:
            yield self._finding("shapes", self._explained(error))
            return
        yield self._finding("shapes", "")
        if not all(losses.isfinite().all() for losses in alone.losses):
            problem = "the training loss is not finite; check its values and initial weights"
            yield self._finding("gradients", problem)
            return
        yield self._finding("gradients", self._dead(alone))
        yield self._finding("effect", self._without_effect(used, alone, rows[0]))
        try:
            together, whole = self._steps(of_pack), self._history(of_pack)
            singles = [alone, *(self._steps([config]) for config in of_pack[1:])]
            rows += [self._history([config]) for config in of_pack[1:]]
        except Exception as error:
            yield self._finding("a pack of three runs", self._explained(error))
            return
        problem = apart(self.part.kind, together, singles, whole, rows)
        yield self._finding("a pack against each run alone", problem, self._way(of_pack))
        yield self._finding("the same again", not_repeated(alone, self._steps([used])))
        yield self._finding("stopped and resumed", self._resumed(of_pack, whole))
        unread = list(self._unread(used, alone))
        yield self._finding(
            "every parameter is read",
            "",
            f"changing {', '.join(unread)} changed nothing in {N_STEPS} steps" if unread else "",
        )

    def _finding(self, check: str, problem: str, note: str = "") -> Finding:
        if problem and not problem.startswith(self.part.file):
            problem = f"{self.part.where}: {problem}"
        return Finding(self.part.title, check, problem, note)

    def _explained(self, error: Exception) -> str:
        """What failed; PyTorch may notice only in the backward pass, outside of the file."""
        if isinstance(error, ConfigError | PartError):
            return str(error)
        return explain_crash(
            error, self.part.file, f"{self.part.title} in training", self.part.line
        )

    def _way(self, configs: Sequence[DecoderConfig]) -> str:
        """How the part computes the runs of a pack; empty for one without weights."""
        alike = [configs[0], configs[2]]  # they differ in no parameter of the part
        ways = []
        for pack in (configs, alike):
            state = PackState.start(self._pack(pack), self.recordings, self.device)
            ways += [own.by_func for own in state.model.parts.values() if isinstance(own, OwnPart)]
        return {
            (): "",
            (True, True): "all runs at once",
            (False, True): "all runs at once, or run after run where they differ in a parameter",
            (False, False): "run after run",
        }[tuple(ways)]

    def _steps(self, configs: Sequence[DecoderConfig]) -> Steps:
        pack = self._pack(configs)
        state = PackState.start(pack, self.recordings, self.device)
        trials = Trials.select(self.recordings, configs[0])
        trained = {n: p.requires_grad for n, p in state.model.named_parameters()}
        found = Steps([], [], trained)
        with batches_of(trials, self.device, False, 0) as batches:
            for _ in range(N_STEPS):
                losses, gradients = step_gradients(state, batches, pack.seed)
                found.losses.append(losses.cpu())
                found.gradients.append({n: g.detach().cpu().clone() for n, g in gradients.items()})
                update_weights(state, gradients, losses, state.optimizer.norms(gradients))
                state.step += 1
        return found

    def _pack(self, configs: Sequence[DecoderConfig]) -> Pack:
        runs = [Run(f"run-{index}", config) for index, config in enumerate(map(resolve, configs))]
        return Pack("pack", _SEED, tuple(runs))

    def _dead(self, found: Steps) -> str:
        """Parameters of the part, or all before it, that no step gives a gradient."""

        def is_dead(name: str) -> bool:
            own = [step.get(name) for step in found.gradients]
            return all(one is None or not one.any() for one in own)

        own = [n for n in found.parameters if n.startswith("parts.")]
        dead = [n.removeprefix("parts.") for n in own if found.parameters[n] and is_dead(n)]
        if dead:
            more = f" and {len(dead) - 5} more" if len(dead) > 5 else ""
            return (
                f"no step gives a gradient to {', '.join(dead[:5])}{more}; use it in forward, "
                "remove it, or set requires_grad to False if it is meant to stay"
            )
        days = [n for n in found.parameters if n.startswith("day_layer.")]
        if self.part.kind in MODULES and all(map(is_dead, days)):
            return (
                "the layers before it get no gradient; do not detach its input or compute under "
                "torch.no_grad"
            )
        return ""

    def _without_effect(self, used: DecoderConfig, found: Steps, rows: Sequence[HistoryRow]) -> str:
        """Whether a run with the part is the run without it."""
        if self.part.kind == "metric":
            if math.isnan(rows[-1][f"{OWN_METRIC}{self.part.name}"]):
                return "its value is not a number; is its denominator 0 in every batch?"
            return ""
        without = self._steps([override(used, {f"parts.{self.part.name}.{USE}": False})])
        what = "losses"
        same = all(torch.equal(a, b) for a, b in zip(found.losses, without.losses, strict=True))
        if self.part.kind == "loss":  # whose value alone trains nothing
            what, (one, two) = "gradients", (found.gradients[0], without.gradients[0])
            same = all(torch.equal(one[name], two[name]) for name in one)
        if same:
            return (
                f"{N_STEPS} steps with it give the {what} of those without it; check what it "
                "returns, or its default parameters"
            )
        return ""

    def _resumed(self, configs: Sequence[DecoderConfig], whole: Sequence[HistoryRow]) -> str:
        """Whether a pack that pauses and continues gives other evaluations."""
        folder = self.folder / self.part.name
        self._history(configs, folder, until_step=2)
        return not_resumed(whole, self._history(configs, folder))

    def _history(
        self,
        configs: Sequence[DecoderConfig],
        folder: Path | None = None,
        until_step: int | None = None,
    ) -> list[HistoryRow]:
        """The evaluations of all runs, run after run."""
        rows: dict[str, list[HistoryRow]] = {}
        events = train(
            self._pack(configs),
            self.recordings,
            device=str(self.device),
            checkpoint_dir=folder,
            until_step=until_step,
        )
        for event in events:
            rows |= {one.run_id: list(one.history) for one in event.finished}
        return [row for run_id in sorted(rows) for row in rows[run_id]]

    def _per_run(self, used: DecoderConfig) -> DecoderConfig:
        """The configuration with another value of every parameter that may differ in a pack."""
        marks = paths_of(used)
        for path, _ in self._parameters(used):
            if marks[path].per_run:
                used = next(self._changed(used, path), used)
        return used

    def _unread(self, used: DecoderConfig, found: Steps) -> Iterator[str]:
        """Parameters that change nothing."""
        if self.part.kind == "metric":
            return
        for path, _ in self._parameters(used):
            changed = next(self._changed(used, path), None)
            if changed is None:
                continue
            try:
                other = self._steps([changed])
            except (ConfigError, RuntimeError):
                continue  # so it is read
            same = zip(found.losses, other.losses, strict=True)
            if all(torch.equal(a, b) for a, b in same):
                yield path

    def _parameters(self, config: DecoderConfig) -> list[tuple[str, Any]]:
        own = grouped(config.parts)[self.part.name]
        return [
            (f"parts.{self.part.name}.{name}", value)
            for name, value in own.items()
            if name not in (USE, KIND)
        ]

    def _changed(self, config: DecoderConfig, path: str) -> Iterator[DecoderConfig]:
        """The configuration with other values of a parameter that its type allows."""
        for value in _others(config.parts[path.removeprefix("parts.")]):
            try:
                yield override(config, {path: value})
            except ConfigError:
                continue


def _others(value: Any) -> Sequence[Any]:
    """Values beside one that a parameter of its type may take."""
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return (value + 2, value + 1, value * 2, value - 1)
    if isinstance(value, float):
        return (value + 0.25, value / 2, value + 1.0, value * 2)
    return ()
