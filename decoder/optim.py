"""Optimization of R runs: parameter groups, clipping, one optimizer for each run.

Runs share tensors but not optimizers: each run has PyTorch's own fused Adam or AdamW, or SGD, over
views of its rows. This way the scalars of a run are plain numbers, its memory is read in one pass,
and a run that leaves the pack takes its optimizer with it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from decoder.model.decoder import ParameterGroup
from decoder.pack import HistoryRow
from decoder.schedules import learning_rates
from decoder.training_sections import OptimConfig

GROUPS: tuple[ParameterGroup, ...] = ("bias", "day", "weight")


class RunOptimizer:
    """The optimizer of one run, over its rows of the stacked parameters.

    Args:
        config: resolved.
        parameters: name → (R, ...) stacked parameter.
        groups: name → parameter group.
        row: the run's position on the leading axis.
    """

    def __init__(
        self,
        config: OptimConfig,
        parameters: Mapping[str, nn.Parameter],
        groups: Mapping[str, ParameterGroup],
        row: int,
    ) -> None:
        self.config = config
        self._views: dict[str, Tensor] = {}
        self._always_updated = (
            {name for name in parameters if groups[name] == "day"}
            if config.update_absent_days
            else set()
        )
        decay = {
            "bias": config.weight_decay_bias,
            "day": config.weight_decay_day,
            "weight": config.weight_decay,
        }
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
        step: int,
        history: Sequence[HistoryRow] = (),
    ) -> float:
        """Update the run's weights in place.

        Args:
            gradients: name → (R, ...). A parameter without a gradient is not changed, unless it
                belongs to a day layer and ``update_absent_days`` is set.
            row: the run's position on the leading axis.
            step: optimizer step, from 0.
            history: the run's evaluations so far.

        Returns:
            The learning rate of the parameter group ``weight``.
        """
        rates = self.rates(step, history)
        for name, view in self._views.items():
            if name in gradients:
                view.grad = gradients[name][row]
            else:
                view.grad = torch.zeros_like(view) if name in self._always_updated else None
        for group, settings in zip(GROUPS, self._optimizer.param_groups, strict=True):
            settings["lr"] = rates[group]
        self._optimizer.step()
        return rates["weight"]

    def rates(self, step: int, history: Sequence[HistoryRow] = ()) -> dict[ParameterGroup, float]:
        """Learning rate of each parameter group, see `decoder.schedules.learning_rates`."""
        return learning_rates(self.config, step, history)

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
    limit = torch.tensor([float("inf") if v is None else v for v in limits], device=norms.device)
    return (limit / (norms + 1e-6)).clamp(max=1.0)


def scale_runs(gradients: Mapping[str, Tensor], factors: Tensor) -> None:
    """Multiply each run's gradients in place. factors: (R,)."""
    for gradient in gradients.values():
        gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))


def average_weights(
    averages: Mapping[str, Tensor], weights: Mapping[str, Tensor], decays: Sequence[float]
) -> None:
    """Move each run's averages towards its weights, in place.

    Follows `torch.optim.swa_utils.get_ema_multi_avg_fn`. With a decay of 0 the averages become the
    weights, with a decay of 1 they do not change.

    Args:
        averages, weights: name → (R, ...).
        decays: one for each run.
    """
    share = 1 - torch.tensor(decays, device=next(iter(averages.values())).device)
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
    norms = torch.stack([torch.linalg.vector_norm(t.flatten(1), dim=1) for t in stacked], dim=1)
    return norms.square().sum(1).sqrt()
