"""Times both implementations of a GRU layer in turn, forward and backward, one way and both ways.

OMP_NUM_THREADS=1 python benchmarks/recurrent_kernels.py
"""

import itertools
import statistics
import time

import torch
from torch import Tensor

from decoder.model.cells import CellWeights, Kernel
from decoder.model.gru import gru_layer
from decoder.model.inputs import sequence_input

BATCH, ROUNDS = 16, 9


def draw(*shape: int) -> Tensor:
    return (0.1 * torch.randn(shape)).requires_grad_()


def seconds(kernel: Kernel, x: Tensor, directions: list[CellWeights], h0: Tensor) -> float:
    started = time.perf_counter()
    gru_layer(sequence_input(x), directions, h0, kernel).sum().backward()
    return time.perf_counter() - started


def main() -> None:
    torch.set_num_threads(1)
    print("nn.GRU's kernels take this many times as long; median, smallest and largest")
    for both, H, P, R in itertools.product((False, True), (64, 128), (30, 60), (1, 4, 12)):
        directions = [
            CellWeights(draw(R, 3 * H, H), draw(R, 3 * H, H), draw(R, 3 * H), draw(R, 3 * H))
            for _ in range(1 + both)
        ]
        x, h0 = draw(R, P, BATCH, H), draw(R, BATCH, H)
        ratios = []
        for _ in range(ROUNDS):
            plain = seconds("torch", x, directions, h0)
            ratios.append(plain / seconds("batched", x, directions, h0))
        ratios = ratios[1:]  # the first round warms up
        print(
            f"{'both ways' if both else 'one way':9s}  {H:3d} units  {P} patches  R = {R:2d}  "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
