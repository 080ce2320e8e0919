"""Numbers between host and device: values, sharing, and steps in which the host does not wait."""

import pytest
import torch

from decoder.host import Flags, constant, send

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_a_constant_is_made_once_for_its_values_type_and_device() -> None:
    first = constant((0.5, 2.0), CPU)
    assert first.tolist() == [0.5, 2.0] and first.dtype == torch.float32
    assert constant((0.5, 2.0), CPU) is first
    assert constant((0.5, 2.0), CPU, torch.float64).dtype == torch.float64
    assert constant((1, 0), CPU, torch.bool).tolist() == [True, False]
    assert constant((1.0, 0.0), CPU).tolist() == [1.0, 0.0]


def test_numbers_are_sent_with_the_type_of_their_destination() -> None:
    sent = send([[1, 2], [3, 4]], torch.empty(0, dtype=torch.float64))
    assert sent.tolist() == [[1.0, 2.0], [3.0, 4.0]] and sent.dtype == torch.float64


def test_flags_read_what_they_were_made_of() -> None:
    assert Flags(torch.tensor([True, False, True])).read() == [True, False, True]


@needs_gpu
def test_the_host_does_not_wait_on_a_gpu() -> None:
    device = torch.device("cuda")
    constant((7.0, 8.0), device)
    like = torch.zeros(1, device=device)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        total = send([1.0, 2.0], like) + constant((7.0, 8.0), device)
        flags = Flags(total > 9)
        assert flags.read() == [False, True]
    finally:
        torch.cuda.set_sync_debug_mode("default")
