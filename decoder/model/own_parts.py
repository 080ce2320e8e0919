"""Layers and encoders of the user's for R runs: their stacked weights and how they are called.

A plain module for one run is built once for each set of parameters, and its weights are repeated
for the runs. It is called by `torch.func` for all runs at once if a trial shows that this gives
what one run after the other gives, draws included; else one run after the other. Dropout is drawn
here, without the axis of runs, so that the runs share its masks in both ways.

Dimensions: R runs, B batch, N bins or patches, D inputs, H outputs.
"""

import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.overrides import TorchFunctionMode

from decoder.errors import ConfigError
from decoder.extensions import UsedPart
from decoder.model.dropout import DropoutPlan
from decoder.part_calls import PartError, check_shape, inside
from decoder.parts import Part
from decoder.seeding import generator

_TRIAL_SIZES = (2, 32)  # trials and bins or patches of what a module is tried with
_RTOL, _ATOL = 1e-4, 1e-5
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)  # of what a module may return


class OwnPart(nn.Module):
    """A layer or an encoder of the user's, for R runs.

    Args:
        used: the part and the parameters of each run.
        n_inputs: D.
        seed: decides the initial weights, which all runs share.
        device: where it is tried; its weights are on the CPU.

    Attributes:
        n_outputs: H.
        by_func: whether all runs are computed at once.

    Raises:
        ConfigError: it cannot be built or tried, or returns another shape.
    """

    def __init__(self, used: UsedPart, n_inputs: int, seed: int, device: torch.device) -> None:
        super().__init__()
        self.part, self.runs = used.part, list(used.runs)
        self.n_inputs = n_inputs
        self._built: list[nn.Module] = []  # for each run; the first holds the stacked weights
        try:
            with inside(self.part), _seeded(seed, f"initial_weights/parts/{self.part.name}", 0):
                self.inner = self._packed(seed) if self.part.packed else self._plain(seed)
        except PartError as error:
            raise ConfigError(str(error)) from error
        self._keywords = _keywords(self.inner)
        self.by_func = False
        self.n_outputs = self._try(device)

    def _packed(self, seed: int) -> nn.Module:
        source = generator(seed, f"initial_weights/parts/{self.part.name}")
        module = _module(self.part, self.part.made(self.n_inputs, self.runs, source))
        for name, parameter in [*module.named_parameters(), *module.named_buffers()]:
            if not parameter.dim() or len(parameter) != len(self.runs):
                raise ConfigError(
                    f"{self.part.where}: '{name}' must have a leading axis of "
                    f"{len(self.runs)} runs, but has shape {tuple(parameter.shape)}; repeat it for "
                    "the runs, or register a module for one run with packed=False"
                )
        return module

    def _plain(self, seed: int) -> nn.Module:
        built: dict[str, nn.Module] = {}
        keys = [own.model_dump_json() for own in self.runs]
        for key, own in zip(keys, self.runs, strict=True):
            if key not in built:
                with _seeded(seed, f"initial_weights/parts/{self.part.name}", 0):
                    built[key] = _module(self.part, self.part.made(self.n_inputs, own))
        self._built = [built[key] for key in keys]
        _check_alike(self.part, list(built.values()))
        holder = self._built[0]
        _stack(holder, self._built)
        for other in built.values():  # their weights are those of the holder, one run at a time
            if other is not holder:
                for _, tensor in [*other.named_parameters(), *other.named_buffers()]:
                    _set(other, torch.empty(0, dtype=tensor.dtype), tensor)
        return holder

    def forward(self, x: Tensor, lengths: Tensor, dropout: DropoutPlan | None) -> Tensor:
        """(R, B, N, D) → (R, B, N, H).

        Args:
            lengths: (B,) int64 valid bins or patches.
            dropout: of the step; None in an evaluation.

        Raises:
            PartError: the module fails, or returns another shape.
        """
        with inside(self.part):
            out: Tensor = self._called(x, lengths, dropout, self.by_func)
        return out

    def _called(
        self, x: Tensor, lengths: Tensor, dropout: DropoutPlan | None, by_func: bool
    ) -> Tensor:
        purpose = f"parts/{self.part.name}"
        seed = 0 if dropout is None else dropout.number(purpose)
        B, N = x.shape[1:3]
        given = {"lengths": lengths, "runs": self.runs}
        if self.part.packed:
            if "generator" in self._keywords:
                given["generator"] = None if dropout is None else dropout.generator(purpose)
            self.inner.train(dropout is not None)
            with _drawing(seed, x.device):
                out: Tensor = self.inner(x, **{key: given[key] for key in self._keywords})
            self._check(out, (len(self.runs), B, N, -1), x)
            return out
        keywords = {"lengths": lengths} if "lengths" in self._keywords else {}
        tensors = {**dict(self.inner.named_parameters()), **dict(self.inner.named_buffers())}

        def call(row: int, own: dict[str, Tensor], x: Tensor) -> Tensor:
            module = self._built[row]
            module.train(dropout is not None)
            made: Tensor = functional_call(module, own, (x,), keywords)
            self._check(made, (B, N, -1), x)
            return made

        if by_func:
            with _drawing(seed, x.device):
                together: Tensor = vmap(partial(call, 0), randomness="same")(tensors, x)
                return together
        rows = []
        for row in range(len(self.runs)):
            with _drawing(seed, x.device):
                own = {name: tensor[row] for name, tensor in tensors.items()}
                rows.append(call(row, own, x[row]))
        return torch.stack(rows)

    def kept_bytes(self, length: int) -> int | None:
        """Bytes that the forward pass of one trial keeps for the backward pass.

        Args:
            length: its bins or patches.

        Returns:
            None if it cannot be measured on this machine.
        """
        kept: dict[int, int] = {}  # address → bytes
        own = {parameter.data_ptr() for parameter in self.parameters()}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        x = torch.zeros(len(self.runs), 1, length, self.n_inputs)
        lengths, plan = torch.tensor([length]), DropoutPlan([], 0, 0, x.device)
        buffers = {name: tensor.clone() for name, tensor in self.named_buffers()}
        alive = []
        try:
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                alive.append(self(x.requires_grad_(), lengths, plan))
        except PartError:
            return None
        finally:
            self._restore(buffers)
        return sum(kept.values()) // len(self.runs)

    def _check(self, made: Any, allowed: Sequence[int], x: Tensor) -> None:
        what = "patches" if self.part.kind != "layer_before" else "bins"
        mend = f"keep the {what}, and return one tensor"
        check_shape(self.part, made, allowed, f"x {tuple(x.shape)}", mend)
        if made.dtype not in _DTYPES:
            raise PartError(
                f"{self.part.where}: must return torch.float32, but returned {made.dtype} for x of "
                f"{x.dtype}; convert it, for instance by .to(x.dtype)"
            )

    def _try(self, device: torch.device) -> int:
        """Try the module on random numbers, and choose how it is called.

        Returns:
            H.
        """
        R, (B, N) = len(self.runs), _TRIAL_SIZES
        home = next((p.device for p in self.parameters()), torch.device("cpu"))
        source = torch.Generator().manual_seed(0)
        x = torch.randn(1, B, N, self.n_inputs, generator=source).expand(R, -1, -1, -1).to(device)
        lengths = torch.tensor([N, N - N // 3], device=device)
        plan = DropoutPlan([], 0, 0, device)
        kept = {name: tensor.clone() for name, tensor in self.named_buffers()}
        self.to(device)
        try:
            with torch.no_grad(), inside(self.part):
                alone = [self._called(x, lengths, one, False) for one in (plan, None)]
            self.by_func = self._agrees(x, lengths, plan, alone, kept)
        except PartError as error:
            said, failed = getattr(self.inner, "n_outputs", None), error.__cause__ is not None
            if failed and isinstance(said, int) and device.type == "cpu":
                return said  # it may need a GPU
            mend = (
                f" (tried with x of shape {tuple(x.shape[1:])}; a module that needs a GPU states "
                "its width as its attribute n_outputs)"
            )
            raise ConfigError(f"{error}{mend if failed else ''}") from error
        finally:
            self.to(home)
            self._restore(kept)
        if not alone[0].isfinite().all():
            raise ConfigError(
                f"{self.part.where}: returns values that are not finite for random x of shape "
                f"{tuple(x.shape[1:])}; check its initial weights"
            )
        return alone[0].shape[-1]

    def _agrees(
        self,
        x: Tensor,
        lengths: Tensor,
        plan: DropoutPlan,
        alone: Sequence[Tensor],
        kept: dict[str, Tensor],
    ) -> bool:
        """Whether all runs at once give what one after the other gives."""
        if self.part.packed or len(self.runs) < 2:
            return False
        if len({own.model_dump_json() for own in self.runs}) > 1:
            return False
        buffers = {name: tensor.clone() for name, tensor in self.named_buffers()}
        self._restore({name: tensor.to(x.device) for name, tensor in kept.items()})
        # It loops over the runs where it has no better way, and warns of that in every step.
        warnings.filterwarnings("ignore", message="There is a performance drop because we have not")
        # `torch.func` refuses what it cannot do by errors of many kinds. A mistake of the user's
        # has shown in the runs before.
        with suppress(Exception), torch.no_grad():
            together = [self._called(x, lengths, one, True) for one in (plan, None)]
            pairs = [*zip(together, alone, strict=True)]
            pairs += [(tensor, buffers[name]) for name, tensor in self.named_buffers()]
            return all(torch.allclose(a.float(), b.float(), _RTOL, _ATOL) for a, b in pairs)
        return False

    def _restore(self, kept: dict[str, Tensor]) -> None:
        for name, tensor in self.named_buffers():
            tensor.copy_(kept[name])

    def keep_runs(self, rows: Sequence[int]) -> None:
        """Keep the parameters and buffers of the runs at `rows`; their weights are kept already."""
        self.runs = [self.runs[row] for row in rows]
        self._built = [self._built[row] for row in rows] if self._built else []
        for _, tensor in list(self.inner.named_buffers()):
            _set(self.inner, tensor[list(rows)], tensor)


def _module(part: Part, made: Any) -> nn.Module:
    if not isinstance(made, nn.Module):
        raise PartError(
            f"{part.where}: must return a torch.nn.Module, but returned {type(made).__name__}; "
            "register a module class, or a function that returns a module"
        )
    for name, parameter in made.named_parameters():
        if parameter.dtype != torch.float32:
            raise PartError(
                f"{part.where}: parameter '{name}' has dtype {parameter.dtype}, but weights must "
                "be torch.float32; convert it"
            )
    return made


def _keywords(module: nn.Module) -> tuple[str, ...]:
    """Which of the things that `OwnPart` knows the module's ``forward`` asks for by name."""
    known = ("lengths", "runs", "generator")
    return tuple(name for name in known if name in inspect.signature(module.forward).parameters)


def _check_alike(part: Part, built: Sequence[nn.Module]) -> None:
    """Refuse modules whose weights have other names, shapes or initial values."""

    def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
        tensors = [*module.named_parameters(), *module.named_buffers()]
        return {name: tuple(tensor.shape) for name, tensor in tensors}

    first = shapes(built[0])
    for other in built[1:]:
        for name in first.keys() | shapes(other).keys():
            if first.get(name) != (got := shapes(other).get(name)):
                raise ConfigError(
                    f"{part.where}: '{name}' has shape {first.get(name)} in one run and {got} in "
                    "another of the same pack; remove PER_RUN from the parameter that decides it"
                )


def _stack(holder: nn.Module, of_runs: Sequence[nn.Module]) -> None:
    """Put the weights and buffers of all runs into the first run's module, with an axis R."""
    parameters = [dict(module.named_parameters()) for module in of_runs]
    buffers = [dict(module.named_buffers()) for module in of_runs]
    for name, old in list(parameters[0].items()):
        whole = torch.stack([own[name].detach() for own in parameters])
        _set(holder, nn.Parameter(whole, requires_grad=old.requires_grad), old)
    for name, buffer in list(buffers[0].items()):
        _set(holder, torch.stack([own[name] for own in buffers]), buffer)


def _set(module: nn.Module, new: Tensor, old: Tensor) -> None:
    """Put a tensor in the place of a parameter or buffer, wherever the module has it."""
    for owner in module.modules():
        for own, parameter in list(owner._parameters.items()):
            if parameter is old:
                new = new if isinstance(new, nn.Parameter) else nn.Parameter(new)
                setattr(owner, own, new)
        for own, buffer in list(owner._buffers.items()):
            if buffer is old:
                owner._buffers[own] = new


@contextmanager
def _seeded(seed: int, purpose: str, step: int) -> Iterator[None]:
    """A context with global generators seeded for one purpose, which restores them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(seed, purpose, step).initial_seed())
        yield


@contextmanager
def _drawing(seed: int, device: torch.device) -> Iterator[None]:
    """A context in which a module draws what follows from the seed alone."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        with _SharedDropout(seed, device):
            yield


class _SharedDropout(TorchFunctionMode):
    """Draws the masks of dropout in the order of the calls, the same for every memory layout.

    A module with a higher rate drops everything that one with a lower rate drops, and more.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        super().__init__()
        self._source = torch.Generator(device).manual_seed(seed)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in (nn.functional.dropout, torch.dropout):
            return func(*args, **kwargs)
        x, rate, training = _dropout_arguments(*args, **kwargs)
        if not training or not rate:
            return x
        draws = torch.rand(x.shape, generator=self._source, device=x.device)
        return x * ((draws >= rate).to(x.dtype) / (1 - rate if rate < 1 else 1.0))


def _dropout_arguments(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    train: bool | None = None,
) -> tuple[Tensor, float, bool]:
    return input, p, training if train is None else train
