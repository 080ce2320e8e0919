"""Measures what of an evaluation can be done beside training, and whether a CPU gains by it.

    OMP_NUM_THREADS=1 python benchmarks/beside_training.py [--rounds 7]

The pack is that of the demonstration, evaluated after 60 steps of training. The script prints the
share of each part of an evaluation, and the processor time of training with other threads relative
to that without, on one core, which is what a worker has.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from speed import demo_pack

from decoder import optim
from decoder.config import override
from decoder.ctc import greedy_decode
from decoder.data.prepare import prepare
from decoder.data.store import Dataset
from decoder.data.trials import Trials
from decoder.evaluation import Evaluator
from decoder.pack import Pack, Run
from decoder.state import PackState
from decoder.step import step_gradients, update_weights
from decoder.train import train

CPU = torch.device("cpu")
N_STEPS = 60


class Stopwatch:
    """Sums the seconds of each part."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - started


def trained(pack: Pack, dataset: Dataset) -> tuple[PackState, Trials]:
    """The demonstration's pack after its first steps."""
    state, trials = (
        PackState.start(pack, dataset, CPU),
        Trials.select(dataset, pack.runs[0].config),
    )
    for _ in range(N_STEPS):
        losses, gradients = step_gradients(state, trials, pack.seed)
        update_weights(state, gradients, losses, optim.gradient_norms(gradients))
        state.step += 1
    return state, trials


def parts_of_evaluation(
    state: PackState, trials: Trials, last: bool, beams: bool
) -> dict[str, float]:
    """Share of each part of one evaluation."""
    settings = {"evaluation.use_beam_search": beams}
    configs = [override(config, settings, "benchmark") for config in state.configs]
    watch, whole = Stopwatch(), time.perf_counter()
    rows = range(len(configs)) if last else ()
    evaluator = Evaluator(state.model, configs, CPU, last=rows)
    batches, going = trials.validation_batches(), True
    while going:
        with watch.part("read and pad"):
            batch = next(batches, None)
        going = batch is not None
        if batch is not None:
            with watch.part("decoders, losses, posteriors"):
                outputs = evaluator.forward(batch)
            with watch.part("decoding and counting"):
                evaluator.decode(outputs)
            with watch.part("of it, merging repeats"):
                R, P, B = outputs.best.shape
                best = outputs.best.transpose(1, 2).reshape(R * B, P)
                greedy_decode(best, outputs.n_patches.repeat(R))
    evaluator.end_forward()
    evaluator.result()
    seconds = watch.seconds
    total = time.perf_counter() - whole - seconds["of it, merging repeats"]
    return {name: value / total for name, value in seconds.items()}


def print_parts(state: PackState, trials: Trials, last: bool, beams: bool, n_rounds: int) -> None:
    found = [parts_of_evaluation(state, trials, last, beams) for _ in range(n_rounds)]
    kind = "the last evaluation" if last else "an evaluation"
    print(f"\n{kind}{' with beam search' if beams else ''}")
    for name in found[0]:
        print(f"  {name:32s} {statistics.median(one[name] for one in found):6.2%}")


def compare(pack: Pack, dataset: Dataset, n_rounds: int) -> None:
    """Train in turn with and without other threads, and print the ratio."""

    def seconds(beside: bool) -> float:
        started = time.process_time()
        list(train(pack, dataset, device="cpu", beside=beside))
        return time.process_time() - started

    ratios = []
    for _ in range(n_rounds):
        here, beside = seconds(False), seconds(True)
        ratios.append(beside / here)
    low, high = min(ratios), max(ratios)
    print(f"  {statistics.median(ratios):.3f} ({low:.3f}-{high:.3f})")


def alone(pack: Pack) -> Pack:
    run = pack.runs[0]
    return replace(pack, runs=(Run(run.run_id, run.config),))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare("synthetic:small", None, None, Path(folder))
        state, trials = trained(demo_pack(N_STEPS, 20), dataset)
        print_parts(state, trials, False, False, options.rounds)
        print_parts(state, trials, True, False, options.rounds)
        print_parts(state, trials, True, True, 1)
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:1]))
        pack = demo_pack(20, 10)
        for which in (pack, alone(pack)):
            print(f"\nprocessor time with threads / without, R = {len(which.runs)}")
            compare(which, dataset, options.rounds)


if __name__ == "__main__":
    main()
