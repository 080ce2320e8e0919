"""Times the GRU layers of a pack as a wavefront, by the length of chunks, with and without graphs.

    python benchmarks/wavefront.py [--runs 1 4 16] [--chunks 4 8 16 32 256] [--small]

Five GRU layers of 768 units over 64 trials of 72 to 247 patches, forward and backward, in bfloat16:
the recurrence and the input products of the upper layers, copies into the buffers and gradients of
the weights included. A chunk as long as the batch runs layer after layer. ``--small`` makes
everything small, to try the script on a CPU, where nothing is captured.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from decoder.model.fused.graphs import GraphCache
from decoder.model.fused.layer import step_kernels
from decoder.model.fused.rows import pack_rows
from decoder.model.fused.stack import StackLayer, stack_states


class EagerCapture:
    """Runs functions instead of capturing them."""

    def warm_up(self, function: Callable[[], None]) -> None:
        """Run it."""
        function()

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """The function itself."""
        return function


def make_step(
    n_runs: int, n_trials: int, n_units: int, longest: int, chunk: int, graphs: bool
) -> Callable[[], None]:
    """A forward and backward of five layers."""
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    dtype = torch.bfloat16 if on_gpu else torch.float32
    lengths = torch.linspace(longest * 3 // 10, longest, n_trials).long()
    source = torch.Generator(device).manual_seed(0)
    rows = pack_rows(lengths, longest, device)
    R, H = n_runs, n_units

    def draw(*shape: int) -> torch.Tensor:
        value = torch.randn(shape, generator=source, device=device) / H**0.5
        return value.requires_grad_()

    layers = [StackLayer(draw(R, 3 * H, H), draw(R, H), None, None)]
    layers += [
        StackLayer(draw(R, 3 * H, H), draw(R, H), draw(R, 3 * H, H), draw(R, 3 * H))
        for _ in range(4)
    ]
    gates_in = draw(R, rows.n_rows, 3 * H).detach().to(dtype).requires_grad_()
    h0, factors = draw(R, n_trials, H), [torch.ones(1, rows.n_rows, H, device=device)] * 4
    kernels = step_kernels("fused" if on_gpu else "rows")
    cache = GraphCache(device, capture=None if graphs else EagerCapture())

    def step() -> None:
        states = stack_states(gates_in, layers, h0, factors, rows, kernels, cache, chunk)
        states[-1].sum().backward()

    return step


def median_ms(step: Callable[[], None], n_steps: int) -> float:
    """Median wall milliseconds of a step after three, which compile and capture."""
    times = []
    for i in range(n_steps + 3):
        _wait()
        started = time.perf_counter()
        step()
        _wait()
        if i >= 3:
            times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--chunks", type=int, nargs="+", default=[4, 8, 16, 32, 256])
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    n_trials, n_units, longest = (4, 16, 40) if options.small else (64, 768, 247)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print(f"{name}, torch {torch.__version__}; milliseconds of a step, and of a run")
    for n_runs in options.runs:
        for chunk in options.chunks:
            for graphs in (True, False):
                step = make_step(n_runs, n_trials, n_units, longest, chunk, graphs)
                ms = median_ms(step, options.steps)
                how = "graphs" if graphs else "eager"
                print(f"R = {n_runs:2d}, chunk {chunk:3d}, {how:6s}: {ms:8.2f} {ms / n_runs:8.2f}")


if __name__ == "__main__":
    main()
