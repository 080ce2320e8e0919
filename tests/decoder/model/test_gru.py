"""The GRU implementations compared with `torch.nn.GRU`, forward and backward."""

import pytest
import torch

from decoder.model.cells import CellWeights, Kernel
from decoder.model.fused.available import why_not
from decoder.model.gru import gru_layer
from decoder.model.inputs import sequence_input

R, P, B, D, H = 3, 7, 4, 5, 6


def make_inputs() -> tuple[torch.Tensor, CellWeights, torch.Tensor]:
    source = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return (0.5 * torch.randn(shape, generator=source)).requires_grad_()

    weights = CellWeights(draw(R, 3 * H, D), draw(R, 3 * H, H), draw(R, 3 * H), draw(R, 3 * H))
    return draw(R, P, B, D), weights, draw(R, B, H)


@pytest.fixture(params=["torch", "batched", "rows", "fused"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    if request.param == "fused" and (reason := why_not(torch.device("cpu"))) is not None:
        pytest.skip(reason)
    kernel: Kernel = request.param
    return kernel


def test_outputs_and_gradients_equal_nn_gru(kernel: Kernel) -> None:
    x, weights, h0 = make_inputs()
    out = gru_layer(sequence_input(x), [weights], h0, kernel)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    out.backward(upstream)
    for r in range(R):
        gru = torch.nn.GRU(D, H)
        parameters = (gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0)
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.data.copy_(weight[r])
        x_r, h_r = (t.detach()[r].clone().requires_grad_() for t in (x, h0))
        expected, _ = gru(x_r, h_r[None])
        expected.backward(upstream[r])
        torch.testing.assert_close(out[r], expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(x.grad[r], x_r.grad, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(h0.grad[r], h_r.grad, rtol=1e-5, atol=1e-6)
        for parameter, weight in zip(parameters, weights, strict=True):
            torch.testing.assert_close(weight.grad[r], parameter.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", ["batched", "rows"])
def test_the_hand_written_backward_passes_gradcheck(kernel: Kernel) -> None:
    x, weights, h0 = make_inputs()
    doubles = [t.detach().double().requires_grad_() for t in (x, *weights, h0)]

    def run(*tensors: torch.Tensor) -> torch.Tensor:
        return gru_layer(
            sequence_input(tensors[0]), [CellWeights(*tensors[1:5])], tensors[5], kernel
        )

    assert torch.autograd.gradcheck(run, doubles)


def test_runs_do_not_affect_each_other(kernel: Kernel) -> None:
    x, weights, h0 = make_inputs()
    out = gru_layer(sequence_input(x), [weights], h0, kernel)
    out[1].sum().backward()
    for tensor in (x, h0, *weights):
        assert tensor.grad is not None
        assert tensor.grad[[0, 2]].eq(0).all()
        assert tensor.grad[1].ne(0).any()


def test_a_nan_in_one_run_stays_in_it(kernel: Kernel) -> None:
    x, weights, h0 = make_inputs()
    with torch.no_grad():
        x[1] = float("nan")
    out = gru_layer(sequence_input(x), [weights], h0, kernel)
    out.sum().backward()
    assert out[1].isnan().all() and not out[[0, 2]].isnan().any()
    assert weights.w_hh.grad is not None and not weights.w_hh.grad[[0, 2]].isnan().any()
