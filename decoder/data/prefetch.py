"""Batches on the device before they are needed: gathered and copied on a thread of their own.

Which trials a batch has follows from (seed, step) alone, so the batches are those that
`decoder.data.trials.Trials` draws when they are needed.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import NamedTuple

import torch

from decoder.data.batches import Batch, Gather, pad_trials
from decoder.data.card import CardSplit, CardSplits, keep_on_card
from decoder.data.trials import Batches, Trials
from decoder.host import event_after_now

# Batches that are ready or on their way while another is trained on.
N_AHEAD = 2


class _Copied(NamedTuple):
    """A batch on the device; and the event after which it is whole, if a GPU copies it.

    Without a batch, there are no more.
    """

    batch: Batch | None
    event: torch.cuda.Event | None


class Prefetcher:
    """Gathers the next batches of a pack on one thread and copies them to the device.

    On a GPU they are read into page-locked memory and copied on a stream of their own, so that
    neither the training thread nor its stream waits. Use it as a context manager: on leaving, the
    thread ends.

    Args:
        trials: what the batches are drawn from.
        device: of the batches.
        on_card: features that are on the device; other features are read from the store.

    Attributes:
        card_bytes: memory of the device that `on_card` takes.
    """

    def __init__(
        self, trials: Trials, device: torch.device, on_card: CardSplits | None = None
    ) -> None:
        self._trials, self._device = trials, device
        self.card_bytes = on_card.n_bytes if on_card else 0
        self._train, self._val = (self._gather_of(split) for split in on_card or CardSplits())
        self._stream = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            self._stream.wait_stream(torch.cuda.current_stream(device))  # which wrote `on_card`
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: deque[tuple[int, int, Future[_Copied]]] = deque()

    def __enter__(self) -> "Prefetcher":
        return self

    def __exit__(self, *error: object) -> None:
        self._ahead.clear()
        self._thread.shutdown(cancel_futures=True)

    def draw(self, seed: int, step: int) -> Batch:
        """The training batch with number `step`, ordered by day; the next ones are then gathered.

        Raises:
            Exception: whatever drawing this batch raised on the thread.
        """
        if not self._ahead or self._ahead[0][:2] != (seed, step):
            self._ahead.clear()
            self._draw_ahead(seed, step)
        *_, wanted = self._ahead.popleft()
        for later in range(step + 1 + len(self._ahead), step + 1 + N_AHEAD):
            self._draw_ahead(seed, later)
        return self._receive(wanted.result())

    def validation_batches(self) -> Iterator[Batch]:
        """Every usable validation trial once, without those of sessions held out, each batch
        ordered by day."""
        return self._in_turn(self._trials.validation_batches(self._val))

    def held_out_batches(self) -> Iterator[Batch]:
        """The same for the sessions held out; nothing without any."""
        return self._in_turn(self._trials.held_out_batches(self._val))

    def _in_turn(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        def draw() -> Batch | None:
            return next(batches, None)

        ahead = deque(self._submit(draw) for _ in range(N_AHEAD))
        while (copied := ahead.popleft().result()).batch is not None:
            ahead.append(self._submit(draw))
            yield self._receive(copied)

    def _draw_ahead(self, seed: int, step: int) -> None:
        draw = partial(self._trials.draw, seed, step, self._train)
        self._ahead.append((seed, step, self._submit(draw)))

    def _submit(self, draw: Callable[[], Batch | None]) -> Future[_Copied]:
        """Let the thread copy a batch, once the GPU is done with the batches used so far.

        A host that runs ahead of its GPU would otherwise fill its memory with batches.
        """
        return self._thread.submit(self._copy, draw, event_after_now(self._device))

    def _gather_of(self, on_card: CardSplit | None) -> Gather:
        if on_card is not None:
            return on_card.gather
        return partial(pad_trials, pinned=self._device.type == "cuda")

    def _copy(self, draw: Callable[[], Batch | None], after: torch.cuda.Event | None) -> _Copied:
        """Draw a batch and start its copy, on the thread."""
        if after is not None:
            after.synchronize()
        if self._stream is None:
            batch = draw()
            return _Copied(batch and batch.to(self._device), None)
        with torch.cuda.stream(self._stream):
            batch = draw()
            batch = batch and batch.to(self._device, non_blocking=True)
            return _Copied(batch, self._stream.record_event())

    def _receive(self, copied: _Copied) -> Batch:
        """Let the training stream wait for a batch, and keep its memory until it has read it."""
        batch, event = copied
        assert batch is not None
        if event is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(event)
            for entry in fields(batch):
                tensor = getattr(batch, entry.name)
                if isinstance(tensor, torch.Tensor) and tensor.is_cuda:
                    tensor.record_stream(stream)
        return batch


@contextmanager
def batches_of(
    trials: Trials, device: torch.device, ahead: bool, reserved_bytes: int | None = None
) -> Iterator[Batches]:
    """The batches of a pack; no number in them depends on how they are gathered.

    Args:
        trials: what the batches are drawn from.
        device: of the training.
        ahead: whether a `Prefetcher` gathers them, on a GPU from its own memory where they fit, or
            the training thread, when it needs them.
        reserved_bytes: see `decoder.data.card.keep_on_card`.
    """
    if not ahead:
        yield trials
        return
    on_gpu = device.type == "cuda"
    on_card = keep_on_card(trials.dataset, device, reserved_bytes) if on_gpu else None
    with Prefetcher(trials, device, on_card) as prefetcher:
        yield prefetcher
