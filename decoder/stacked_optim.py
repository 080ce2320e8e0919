"""Adam, AdamW and SGD of all runs at once over the stacked parameters, for a GPU.

Each run has its own learning rates, scalars and number of steps, and takes a step or not by a flag
on the device, so that the host need not know. One formula serves the three algorithms. With the
clipped gradient g, to which L2 decay is added, the moments m and v and the weights p of a run:

    m = keep1 m + add1 g;  v = keep2 v + add2 g²
    change = of_gradient g + of_moment m;  in Adam change / (sqrt(v) root + epsilon)
    p = shrink p - step_size change

The factors are those of `torch.optim`. In SGD m is the momentum buffer, which starts at zero, and v
is not used.

There are two implementations. Triton kernels handle all parameters in one launch, or two if some
addresses are no multiples of 16 bytes, and read every value once. The other consists of a few
operations of torch for each parameter.

Dimensions: R runs, N parameters, G parameter groups.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from decoder.host import constant, send
from decoder.model.decoder import ParameterGroup
from decoder.model.fused.available import COMPILE_OPTIONS
from decoder.optim import GROUPS, gradient_norms, weight_decays
from decoder.training_sections import ModelPart, OptimConfig

# Columns of the coefficients (R, N, 13); those before L2 change from step to step.
MOVES, CLIP, SHRINK, STEP_SIZE, ROOT, L2, EPSILON, KEEP1, ADD1, KEEP2, ADD2 = range(11)
OF_GRADIENT, OF_MOMENT = 11, 12
N_COEFFICIENTS = 13
# Values that a program of the kernels handles.
BLOCK = 2048
# Values of all runs that the other implementation handles at once, which limits its memory.
PIECE = 2**24


class Table(NamedTuple):
    """Tensors for one launch of a kernel.

    Attributes:
        rows: (tensors, 7) int64 on the device: addresses of weights, gradient (0 for a gradient of
            zero), first and second moment; values of a run; number of the first block; number of
            the parameter.
        n_blocks: blocks of all tensors, for one run.
        unit: 4 values if every run of every tensor starts at a multiple of 16 bytes, else 1.
    """

    rows: Tensor
    n_blocks: int
    unit: int


class StackedOptimizer:
    """The optimizers of all runs of a pack.

    Args:
        configs: one for each run, resolved.
        parameters: name → (R, ...) contiguous float32 parameter. Its tensor may be replaced.
        groups: name → parameter group.
        kernels: whether to use the Triton kernels.
        block: values that a program of the kernels handles, a power of two.
        parts: name → part of the decoder that ``frozen`` may name; None freezes nothing.
    """

    def __init__(
        self,
        configs: Sequence[OptimConfig],
        parameters: Mapping[str, nn.Parameter],
        groups: Mapping[str, ParameterGroup],
        kernels: bool,
        block: int = BLOCK,
        parts: Mapping[str, ModelPart] | None = None,
    ) -> None:
        self.configs = list(configs)
        self._kernels, self._block = kernels, block
        # In the order of the groups, as in `decoder.optim.RunOptimizer`, whose state has numbers.
        self._parameters = {n: parameters[n] for g in GROUPS for n in parameters if groups[n] == g}
        self._groups = [groups[n] for n in self._parameters]
        self._parts = [None if parts is None else parts[n] for n in self._parameters]
        self._device = next(iter(parameters.values())).device
        self._first = {n: torch.zeros_like(p.detach()) for n, p in self._parameters.items()}
        adaptive = any(config.algorithm != "sgd" for config in configs)
        self._second = {n: torch.zeros_like(m) for n, m in self._first.items()} if adaptive else {}
        self._n_steps = torch.zeros(len(configs), len(self._groups), device=self._device)
        self._set_constants()

    def norms(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """(R,) gradient norm of each run over all its parameters, see `step`."""
        if not self._kernels:
            return gradient_norms(gradients)
        import triton

        from decoder.optim_kernels import square_sums

        names = [name for name in self._parameters if name in gradients]
        kept = {name: gradients[name].contiguous() for name in names}
        sums = []
        for table in self._tables(names, kept):
            n = len(table.rows)
            sums.append(torch.empty(len(self.configs), table.n_blocks, device=self._device))
            with torch.cuda.device_of(table.rows):
                square_sums[(table.n_blocks, len(self.configs))](
                    table.rows,
                    n,
                    sums[-1],
                    table.n_blocks,
                    N=triton.next_power_of_2(n),
                    COLUMNS=table.rows.shape[1],
                    BLOCK=self._block,
                    UNIT=table.unit,
                    **COMPILE_OPTIONS,
                )
        return torch.cat(sums, dim=1).sum(1).sqrt()

    def step(
        self,
        gradients: Mapping[str, Tensor],
        rates: Tensor,
        factors: Tensor,
        taken: Tensor | None = None,
    ) -> None:
        """Update the weights of the runs that take the step, in place.

        Args:
            gradients: name → (R, ...) float32, not changed. A parameter without a gradient is not
                changed, unless it belongs to a day layer of a run with ``update_absent_days``. A
                frozen parameter is never changed.
            rates: (R, G) float64 learning rates, groups in the order of `decoder.optim.GROUPS`.
            factors: (R,) clip factors.
            taken: (R,) bool, whether a run takes the step; None means that all do. The gradients of
                the others need not be finite.
        """
        names = [
            name
            for name, group in zip(self._parameters, self._groups, strict=True)
            if name in gradients or (group == "day" and self._updates_absent)
        ]
        self._set_coefficients(gradients, rates, factors, taken)
        kept = {n: gradients[n].contiguous() for n in names if n in gradients}
        if self._kernels:
            self._launch(self._tables(names, kept))
            return
        for index, name in enumerate(self._parameters):
            if name in names:
                _update(
                    self._parameters[name].detach(),
                    kept.get(name),
                    self._first[name],
                    self._second.get(name),
                    self._coefficients[:, index],
                )

    def state(self, row: int) -> dict[str, Tensor]:
        """Every tensor of one run's state, like `decoder.optim.RunOptimizer.state`."""
        config, found = self.configs[row], {}
        n_steps = self._n_steps[row].tolist()
        for index, name in enumerate(self._parameters):
            if not n_steps[index]:
                continue
            if config.algorithm != "sgd":
                found[f"{index}.step"] = self._n_steps[row, index].clone()
                found[f"{index}.exp_avg"] = self._first[name][row]
                found[f"{index}.exp_avg_sq"] = self._second[name][row]
            elif config.momentum:
                found[f"{index}.momentum_buffer"] = self._first[name][row]
        return found

    def load_state(self, row: int, tensors: Mapping[str, Tensor]) -> None:
        """Continue one run from tensors that `state` returned."""
        self._n_steps[row] = 0
        for moments in (*self._first.values(), *self._second.values()):
            moments[row] = 0
        names = list(self._parameters)
        for key, value in tensors.items():
            number, _, what = key.partition(".")
            index = int(number)
            if what == "step":
                self._n_steps[row, index] = value.to(self._device)
                continue
            of_names = self._second if what == "exp_avg_sq" else self._first
            of_names[names[index]][row] = value.to(self._device)
            if what == "momentum_buffer":
                self._n_steps[row, index] = 1

    def keep_runs(self, rows: Sequence[int]) -> None:
        """Keep only the runs at `rows`; those of the parameters have been kept already."""
        if not rows:
            return
        self.configs = [self.configs[row] for row in rows]
        for of_names in (self._first, self._second):
            for name in of_names:  # one after the other, so that little memory is needed twice
                of_names[name] = of_names[name][list(rows)]
        if all(config.algorithm == "sgd" for config in self.configs):
            self._second = {}
        self._n_steps = self._n_steps[list(rows)]
        self._set_constants()

    def _set_constants(self) -> None:
        """The coefficients that do not change, and what the others follow from."""
        self._updates_absent = any(config.update_absent_days for config in self.configs)

        def table(dtype: torch.dtype, rows: Sequence[Sequence[float]]) -> Tensor:
            """(R, columns), also if no run is left."""
            return torch.tensor(rows, dtype=dtype, device=self._device).view(len(rows), -1)

        always = [[c.update_absent_days and g == "day" for g in self._groups] for c in self.configs]
        self._always = table(torch.bool, always)  # (R, N)
        frozen = [[part in config.frozen for part in self._parts] for config in self.configs]
        self._moving = ~table(torch.bool, frozen)  # (R, N)
        decays = [weight_decays(config) for config in self.configs]
        decay = table(torch.float64, [[of[g] for g in self._groups] for of in decays])
        is_decoupled = table(torch.bool, [[c.algorithm == "adamw"] for c in self.configs])
        self._decoupled = decay.where(is_decoupled, 0.0)  # (R, N)
        columns = table(torch.float64, [_constants(config) for config in self.configs])  # (R, 13)
        adaptive = columns[:, [ADD2]] != 0  # (R, 1)
        self._beta1 = columns[:, [KEEP1]].where(adaptive, 0.0)  # (R, 1)
        self._beta2 = columns[:, [KEEP2]].where(adaptive, 0.0)
        self._coefficients = columns.float()[:, None].repeat(1, len(self._groups), 1)  # (R, N, 13)
        self._coefficients[..., L2] = decay.where(~is_decoupled, 0.0).float()

    def _set_coefficients(
        self,
        gradients: Mapping[str, Tensor],
        rates: Tensor,
        factors: Tensor,
        taken: Tensor | None,
    ) -> None:
        """Count the step for the parameters that move, and set the coefficients of this step."""
        there = send([name in gradients for name in self._parameters], self._always)
        moves = (there | self._always) & self._moving  # (R, N)
        if taken is not None:
            moves = moves & taken[:, None]
        self._n_steps += moves
        n_steps = self._n_steps.clamp(min=1).double()
        group = tuple(GROUPS.index(group) for group in self._groups)
        rate = rates.index_select(1, constant(group, self._device, torch.int64))  # (R, N)
        changing = [
            moves.double(),
            factors.double()[:, None].expand_as(rate),
            1 - rate * self._decoupled,
            rate / (1 - self._beta1**n_steps),
            (1 - self._beta2**n_steps).rsqrt(),
        ]
        self._coefficients[..., : len(changing)] = torch.stack(changing, dim=-1)

    def _tables(self, names: Iterable[str], gradients: Mapping[str, Tensor]) -> list[Table]:
        """At most two tables of the parameters `names`: those in units of 4 values, and of 1."""
        index = {name: i for i, name in enumerate(self._parameters)}
        rows: dict[int, list[list[int]]] = {4: [], 1: []}
        n_blocks = {4: 0, 1: 0}
        for name in names:
            weights = self._parameters[name].detach()
            n_values = weights.numel() // len(weights)
            used = (weights, gradients.get(name), self._first[name], self._second.get(name))
            assert all(t is None or (t.is_contiguous() and t.dtype == torch.float32) for t in used)
            addresses = [0 if tensor is None else tensor.data_ptr() for tensor in used]
            unit = 4 if not any(a % 16 for a in addresses) and n_values % 4 == 0 else 1
            rows[unit].append([*addresses, n_values, n_blocks[unit], index[name]])
            n_blocks[unit] += -(-n_values // self._block)
        like = torch.empty(0, dtype=torch.int64, device=self._device)
        return [Table(send(rows[unit], like), n_blocks[unit], unit) for unit in rows if rows[unit]]

    def _launch(self, tables: Iterable[Table]) -> None:
        import triton

        from decoder.optim_kernels import update

        for table in tables:
            n = len(table.rows)
            with torch.cuda.device_of(table.rows):
                update[(table.n_blocks, len(self.configs))](
                    table.rows,
                    n,
                    self._coefficients,
                    len(self._groups),
                    N=triton.next_power_of_2(n),
                    COLUMNS=table.rows.shape[1],
                    K=N_COEFFICIENTS,
                    BLOCK=self._block,
                    UNIT=table.unit,
                    **COMPILE_OPTIONS,
                )


def _constants(config: OptimConfig) -> list[float]:
    """The coefficients of a run; those of a step or of a parameter are 0."""
    values = [0.0] * N_COEFFICIENTS
    values[OF_MOMENT] = 1.0
    if config.algorithm == "sgd":
        values[KEEP1], values[ADD1] = config.momentum, 1.0
        if config.nesterov:
            values[OF_GRADIENT], values[OF_MOMENT] = 1.0, config.momentum
    else:
        values[KEEP1], values[ADD1] = config.beta1, 1 - config.beta1
        values[KEEP2], values[ADD2] = config.beta2, 1 - config.beta2
        values[EPSILON] = config.epsilon
    return values


def _update(
    weights: Tensor,
    gradient: Tensor | None,
    first: Tensor,
    second: Tensor | None,
    coefficients: Tensor,
) -> None:
    """One step of a parameter (R, ...) with coefficients (R, 13), in place."""
    n_runs = max(1, PIECE // weights[0].numel())

    def pieces(stacked: Tensor) -> Sequence[Tensor]:
        return torch.split(stacked, n_runs)

    nothing = [None] * len(pieces(weights))
    for p, g, m, v, own in zip(
        pieces(weights),
        nothing if gradient is None else pieces(gradient),
        pieces(first),
        nothing if second is None else pieces(second),
        pieces(coefficients),
        strict=True,
    ):
        c = own.view(-1, N_COEFFICIENTS, *[1] * (p.dim() - 1)).unbind(1)
        moves = c[MOVES] != 0
        g = c[L2] * p if g is None else c[CLIP] * g + c[L2] * p
        m.copy_(torch.where(moves, c[KEEP1] * m + c[ADD1] * g, m))
        change = c[OF_GRADIENT] * g + c[OF_MOMENT] * m
        if v is not None:
            adaptive = c[ADD2] != 0
            v.copy_(torch.where(moves & adaptive, c[KEEP2] * v + c[ADD2] * g * g, v))
            change = torch.where(adaptive, change / (v.sqrt() * c[ROOT] + c[EPSILON]), change)
        p.copy_(torch.where(moves, c[SHRINK] * p - c[STEP_SIZE] * change, p))
