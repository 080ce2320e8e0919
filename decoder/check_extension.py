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
from torch import Tensor

from decoder.api import open_recordings
from decoder.config import DecoderConfig, override, paths_of, resolve, with_extensions
from decoder.data.prefetch import batches_of
from decoder.data.store import Dataset
from decoder.data.trials import Trials
from decoder.entries import KIND, OWN_METRIC, USE
from decoder.errors import ConfigError
from decoder.extensions import grouped, load_extensions
from decoder.pack import HistoryRow, Pack, Run
from decoder.part_calls import PartError
from decoder.parts import MODULES, Part
from decoder.state import PackState
from decoder.step import step_gradients, update_weights
from decoder.train import choose_device, train

N_STEPS = 4
_SEED = 1
_RTOL = 1e-3  # between a run alone and the same run in a pack
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


class _Steps(NamedTuple):
    """What some steps of a pack gave.

    Attributes:
        losses: (R,) of each step.
        gradients: name → (R, ...) of each step.
        parameters: name → whether it is trained.
        by_func: whether the part computes all runs at once; None for one run or without weights.
    """

    losses: list[Tensor]
    gradients: list[dict[str, Tensor]]
    parameters: dict[str, bool]
    by_func: bool | None


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
        except (ConfigError, PartError) as error:
            yield self._finding("shapes", str(error))
            return
        yield self._finding("shapes", "")
        yield self._finding("gradients", self._dead(alone))
        yield self._finding("effect", self._without_effect(used, alone, rows[0]))
        try:
            together, whole = self._steps(of_pack), self._history(of_pack)
            singles = [alone, *(self._steps([config]) for config in of_pack[1:])]
            rows += [self._history([config]) for config in of_pack[1:]]
        except (ConfigError, PartError) as error:
            yield self._finding("a pack of three runs", str(error))
            return
        way = {None: "", True: "all runs at once", False: "run after run"}[together.by_func]
        apart = self._apart(together, singles, whole, rows)
        yield self._finding("a pack against each run alone", apart, way)
        yield self._finding("the same again", self._differs(alone, self._steps([used])))
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

    def _steps(self, configs: Sequence[DecoderConfig]) -> _Steps:
        pack = self._pack(configs)
        state = PackState.start(pack, self.recordings, self.device)
        trials = Trials.select(self.recordings, configs[0])
        trained = {n: p.requires_grad for n, p in state.model.named_parameters()}
        found = _Steps([], [], trained, None)
        with batches_of(trials, self.device, False, 0) as batches:
            for _ in range(N_STEPS):
                losses, gradients = step_gradients(state, batches, pack.seed)
                found.losses.append(losses.cpu())
                found.gradients.append({n: g.detach().cpu().clone() for n, g in gradients.items()})
                update_weights(state, gradients, losses, state.optimizer.norms(gradients))
                state.step += 1
        own = [part.by_func for part in state.model.parts.values()]
        return found._replace(by_func=bool(own[0]) if own and len(configs) > 1 else None)

    def _pack(self, configs: Sequence[DecoderConfig]) -> Pack:
        runs = [Run(f"run-{index}", config) for index, config in enumerate(map(resolve, configs))]
        return Pack("pack", _SEED, tuple(runs))

    def _dead(self, found: _Steps) -> str:
        """Parameters of the part, or all before it, that no step gives a gradient."""
        if not all(losses.isfinite().all() for losses in found.losses):
            return "the training loss is not finite; check its values and initial weights"

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

    def _without_effect(
        self, used: DecoderConfig, found: _Steps, rows: Sequence[HistoryRow]
    ) -> str:
        """Whether a run with the part is the run without it."""
        if self.part.kind == "metric":
            if math.isnan(rows[-1][f"{OWN_METRIC}{self.part.name}"]):
                return "its value is not a number; is its denominator 0 in every batch?"
            return ""
        without = self._steps([override(used, {f"parts.{self.part.name}.{USE}": False})])
        same = all(torch.equal(a, b) for a, b in zip(found.losses, without.losses, strict=True))
        if same:
            return (
                f"{N_STEPS} steps with it give the losses of those without it; check what it "
                "returns, or its default parameters"
            )
        return ""

    def _apart(
        self,
        together: _Steps,
        singles: Sequence[_Steps],
        whole: Sequence[HistoryRow],
        rows: Sequence[Sequence[HistoryRow]],
    ) -> str:
        """Where a run in a pack differs from the run alone.

        Args:
            together, singles: the steps of the pack, and of each run.
            whole, rows: the evaluations of the pack, run after run, and of each run.
        """
        mends = {
            "augmentation": "draw without the axis of runs, from the generator it gets",
            "loss": "do not average over the axis of runs",
            "metric": "do not average over the axis of runs",
        }
        mend = mends.get(self.part.kind, "keep nothing between calls, and draw from torch alone")
        for row, single in enumerate(singles):
            for step in range(N_STEPS):
                a, b = together.losses[step][row], single.losses[step][0]
                if not torch.allclose(a, b, rtol=_RTOL):
                    return (
                        f"at step {step + 1} run {row + 1} of the pack has the loss {a:.6g}, and "
                        f"{b:.6g} alone; {mend}"
                    )
            for name, gradient in single.gradients[0].items():
                a, b = together.gradients[0][name][row], gradient[0]
                scale = float(b.abs().max())
                if not torch.allclose(a, b, rtol=_RTOL, atol=_RTOL * scale + 1e-6):
                    return (
                        f"the gradient of {name} of run {row + 1} differs by up to "
                        f"{float((a - b).abs().max()):.3g} from that alone (largest: {scale:.3g}); "
                        f"{mend}"
                    )
        for one, two in zip(whole, (row for own in rows for row in own), strict=True):
            for column in ("val_loss", *(name for name in one if name.startswith(OWN_METRIC))):
                if not math.isclose(one[column], two[column], rel_tol=_RTOL, abs_tol=_RTOL):
                    return (
                        f"at step {one['step']:.0f} {column} is {one[column]:.6g} in the pack, and "
                        f"{two[column]:.6g} alone; {mend}"
                    )
        return ""

    def _differs(self, one: _Steps, two: _Steps) -> str:
        """Where the same steps do not repeat exactly."""
        for step in range(N_STEPS):
            if not torch.equal(one.losses[step], two.losses[step]):
                return (
                    f"at step {step + 1} the same run has the loss {float(one.losses[step]):.9g}, "
                    f"then {float(two.losses[step]):.9g}; draw from the generator it gets or from "
                    "torch alone, and keep nothing between calls"
                )
        return ""

    def _resumed(self, configs: Sequence[DecoderConfig], whole: Sequence[HistoryRow]) -> str:
        """Whether a pack that pauses and continues gives other evaluations."""
        folder = self.folder / self.part.name
        self._history(configs, folder, until_step=2)
        resumed = self._history(configs, folder)
        for one, two in zip(whole, resumed, strict=True):
            for column, value in one.items():
                if value != two[column] and not (math.isnan(value) and math.isnan(two[column])):
                    return (
                        f"after a pause at step 2, {column} is {two[column]:.9g} at step "
                        f"{one['step']:.0f}, but {value:.9g} without the pause; keep what "
                        "changes in training in parameters or registered buffers"
                    )
        return ""

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

    def _unread(self, used: DecoderConfig, found: _Steps) -> Iterator[str]:
        """Parameters that change nothing."""
        if self.part.kind == "metric":
            return
        for path, _ in self._parameters(used):
            changed = next(self._changed(used, path), None)
            if changed is None:
                continue
            try:
                other = self._steps([changed])
            except (ConfigError, PartError):
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
