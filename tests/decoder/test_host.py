"""Numbers between host and device: values, sharing, and steps in which the host does not wait."""

import pytest
import torch

from decoder.host import Flags, constant, event_after_now, send, to_host

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


def test_a_tensor_on_the_host_is_not_copied_and_has_no_event() -> None:
    tensor = torch.arange(3)
    assert to_host(tensor) is tensor
    assert event_after_now(torch.device("cpu")) is None


@needs_gpu
def test_a_tensor_is_on_the_host_after_its_event() -> None:
    device = torch.device("cuda")
    large = torch.rand(2048, 2048, device=device)
    for _ in range(20):
        large = (large @ large).softmax(-1)
    copy, event = to_host(large), event_after_now(device)
    assert copy.is_pinned() and event is not None
    event.synchronize()
    assert torch.equal(copy, large.cpu())
