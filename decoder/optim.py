"""Optimization of R runs: parameter groups, clipping, one optimizer for each run.

On a CPU runs share tensors but not optimizers: each run has PyTorch's own fused Adam or AdamW, or
SGD, over views of its rows. This way the scalars of a run are plain numbers, and its memory is read
in one pass. On a GPU see `decoder.stacked_optim`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from decoder.host import constant
from decoder.model.decoder import ParameterGroup
from decoder.training_sections import ModelPart, OptimConfig

GROUPS: tuple[ParameterGroup, ...] = ("bias", "day", "weight")


def weight_decays(config: OptimConfig) -> dict[ParameterGroup, float]:
    """The weight decay of each parameter group."""
    return {
        "bias": config.weight_decay_bias,
        "day": config.weight_decay_day,
        "weight": config.weight_decay,
    }


class PackOptimizer(Protocol):
    """The optimizers of all runs of a pack."""

    def norms(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """(R,) gradient norm of each run over all its parameters."""

    def step(
        self,
        gradients: Mapping[str, Tensor],
        rates: Tensor,
        factors: Tensor,
        taken: Tensor | None = None,
    ) -> None:
        """Update the weights of the runs that take the step, in place.

        Args:
            gradients: name → (R, ...), may be scaled in place. A parameter without a gradient is
                not changed, unless it belongs to a day layer of a run with ``update_absent_days``.
            rates: (R, 3) float64 learning rate of each of `GROUPS`.
            factors: (R,) clip factors.
            taken: (R,) bool, whether a run takes the step; None means that all do. The gradients of
                the others need not be finite.
        """

    def state(self, row: int) -> dict[str, Tensor]:
        """Every tensor of a run's state, see `RunOptimizer.state`."""

    def load_state(self, row: int, tensors: Mapping[str, Tensor]) -> None:
        """Continue a run from tensors that `state` returned."""

    def keep_runs(self, rows: Sequence[int]) -> None:
        """Keep only the runs at `rows`, after the parameters have kept only these."""


class RunOptimizers:
    """One `RunOptimizer` for each run, see `PackOptimizer`.

    Args:
        configs: one for each run, resolved.
        parameters: name → (R, ...) stacked parameter. Its tensor may be replaced.
        groups: name → parameter group.
        parts: name → part of the decoder that ``frozen`` may name; None freezes nothing.
    """

    def __init__(
        self,
        configs: Sequence[OptimConfig],
        parameters: Mapping[str, nn.Parameter],
        groups: Mapping[str, ParameterGroup],
        parts: Mapping[str, ModelPart] | None = None,
    ) -> None:
        self._parameters, self._groups, self._parts = parameters, groups, parts
        self._make(configs)

    def _make(self, configs: Sequence[OptimConfig]) -> None:
        self._optimizers = [
            RunOptimizer(config, self._parameters, self._groups, row, self._parts)
            for row, config in enumerate(configs)
        ]

    def norms(self, gradients: Mapping[str, Tensor]) -> Tensor:
        return gradient_norms(gradients)

    def step(
        self,
        gradients: Mapping[str, Tensor],
        rates: Tensor,
        factors: Tensor,
        taken: Tensor | None = None,
    ) -> None:
        scale_runs(gradients, factors)
        steps = [True] * len(self._optimizers) if taken is None else taken.tolist()
        for row, own in enumerate(rates.tolist()):
            if steps[row]:
                self._optimizers[row].step(gradients, row, dict(zip(GROUPS, own, strict=True)))

    def state(self, row: int) -> dict[str, Tensor]:
        return self._optimizers[row].state()

    def load_state(self, row: int, tensors: Mapping[str, Tensor]) -> None:
        self._optimizers[row].load_state(tensors)

    def keep_runs(self, rows: Sequence[int]) -> None:
        kept = [self._optimizers[row] for row in rows]
        self._make([optimizer.config for optimizer in kept])
        for new, old in zip(self._optimizers, kept, strict=True):
            new.load_state(old.state())


class RunOptimizer:
    """The optimizer of one run, over its rows of the stacked parameters.

    Args:
        config: resolved.
        parameters: name → (R, ...) stacked parameter.
        groups: name → parameter group.
        row: the run's position on the leading axis.
        parts: see `RunOptimizers`.
    """

    def __init__(
        self,
        config: OptimConfig,
        parameters: Mapping[str, nn.Parameter],
        groups: Mapping[str, ParameterGroup],
        row: int,
        parts: Mapping[str, ModelPart] | None = None,
    ) -> None:
        self.config = config
        self._frozen = {name for name, part in (parts or {}).items() if part in config.frozen}
        self._views: dict[str, Tensor] = {}
        self._always_updated = (
            {name for name in parameters if groups[name] == "day"}
            if config.update_absent_days
            else set()
        )
        decay = weight_decays(config)
        names = {group: [n for n in parameters if groups[n] == group] for group in GROUPS}
        for name, parameter in parameters.items():
            self._views[name] = parameter.detach()[row]
        self._optimizer = _make(
            config,
            [
                {"params": [self._views[n] for n in names[group]], "weight_decay": decay[group]}
                for group in GROUPS
            ],
        )

    def step(
        self,
        gradients: Mapping[str, Tensor],
        row: int,
        rates: Mapping[ParameterGroup, float],
    ) -> None:
        """Update the run's weights in place.

        Args:
            gradients: name → (R, ...). A parameter without a gradient is not changed, unless it
                belongs to a day layer and ``update_absent_days`` is set. A frozen parameter is
                never changed.
            row: the run's position on the leading axis.
            rates: learning rate of each parameter group.
        """
        for name, view in self._views.items():
            if name in self._frozen:
                view.grad = None
            elif name in gradients:
                view.grad = gradients[name][row]
            else:
                view.grad = torch.zeros_like(view) if name in self._always_updated else None
        for group, settings in zip(GROUPS, self._optimizer.param_groups, strict=True):
            settings["lr"] = rates[group]
        self._optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the optimizer's state: ``{"3.exp_avg": ...}``."""
        state = self._optimizer.state_dict()["state"]
        return {
            f"{i}.{key}": value
            for i, entry in state.items()
            for key, value in entry.items()
            if value is not None  # SGD without momentum
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from tensors that `state` returned."""
        state: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        full = self._optimizer.state_dict()
        self._optimizer.load_state_dict({**full, "state": state})


def _make(config: OptimConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if config.algorithm == "sgd":  # fused SGD fails if a day's first gradient comes in a later step
        return torch.optim.SGD(
            groups, lr=config.lr_max, momentum=config.momentum, nesterov=config.nesterov
        )
    algorithm = torch.optim.AdamW if config.algorithm == "adamw" else torch.optim.Adam
    return algorithm(
        groups,
        lr=config.lr_max,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """name → (R, ...) gradient, for the parameters that have one."""
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def clear_frozen(
    gradients: Mapping[str, Tensor],
    configs: Sequence[OptimConfig],
    parts: Mapping[str, ModelPart],
) -> None:
    """Set the gradients of frozen parts to zero in place, also those that are not finite.

    Args:
        gradients: name → (R, ...).
        configs: R configurations; ``frozen`` is read.
        parts: name → part of the decoder.
    """
    for name, gradient in gradients.items():
        rows = tuple(parts[name] in config.frozen for config in configs)
        if any(rows):
            frozen = constant(rows, gradient.device, torch.bool)
            gradient.masked_fill_(frozen.view(-1, *[1] * (gradient.dim() - 1)), 0.0)


def gradient_norms(gradients: Mapping[str, Tensor]) -> Tensor:
    """(R,) gradient norm of each run over all its parameters."""
    return _norm_per_run(gradients.values())


def clip_factors(norms: Tensor, limits: Sequence[float | None]) -> Tensor:
    """The factor that clips each run's gradient, as in `torch.nn.utils.clip_grad_norm_`.

    Args:
        norms: (R,) gradient norms.
        limits: largest norm of each run; None means no clipping.

    Returns:
        (R,), at most 1.
    """
    limit = constant(tuple(float("inf") if v is None else v for v in limits), norms.device)
    return (limit / (norms + 1e-6)).clamp(max=1.0)


def scale_runs(gradients: Mapping[str, Tensor], factors: Tensor) -> None:
    """Multiply each run's gradients in place. factors: (R,)."""
    for gradient in gradients.values():
        gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))


def average_weights(
    averages: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    decays: Sequence[float],
    taken: Tensor | None = None,
) -> None:
    """Move each run's averages towards its weights, in place.

    Follows `torch.optim.swa_utils.get_ema_multi_avg_fn`. With a decay of 0 the averages become the
    weights.

    Args:
        averages, weights: name → (R, ...).
        decays: one for each run.
        taken: (R,) bool, whether a run took the step; the averages of the others do not change.
            None means that all did.
    """
    share = 1 - constant(tuple(decays), next(iter(averages.values())).device)
    if taken is not None:
        share = share.masked_fill(~taken, 0.0)
    for name, average in averages.items():
        average.lerp_(weights[name], share.view(-1, *[1] * (average.dim() - 1)))


def rows_of(parameters: Iterator[nn.Parameter]) -> list[Tensor]:
    """A copy of each stacked parameter, from which `update_norms` measures an update."""
    return [parameter.detach().clone() for parameter in parameters]


def update_norms(before: Sequence[Tensor], after: Iterator[nn.Parameter]) -> Tensor:
    """(R,) norm of each run's change of weights."""
    return _norm_per_run([new.detach() - old for old, new in zip(before, after, strict=True)])


def _norm_per_run(stacked: Iterable[Tensor]) -> Tensor:
    """(R,) norm of each run over all of these (R, ...) tensors."""
    flat = [t.flatten(1) if t.dim() > 1 else t[:, None] for t in stacked]
    norms = torch.stack([torch.linalg.vector_norm(t, dim=1) for t in flat], dim=1)
    return norms.square().sum(1).sqrt()
