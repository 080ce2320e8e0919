"""Results that leave the device: at once on a CPU, after an event on a GPU."""

import pytest
import torch

from decoder.transfers import event_after_now, to_host


def test_a_tensor_on_the_host_is_not_copied_and_has_no_event() -> None:
    tensor = torch.arange(3)
    assert to_host(tensor) is tensor
    assert event_after_now(torch.device("cpu")) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_tensor_is_on_the_host_after_its_event() -> None:
    device = torch.device("cuda")
    large = torch.rand(2048, 2048, device=device)
    for _ in range(20):
        large = (large @ large).softmax(-1)
    copy, event = to_host(large), event_after_now(device)
    assert copy.is_pinned() and event is not None
    event.synchronize()
    assert torch.equal(copy, large.cpu())
