"""The LSTM of a pack compared with `torch.nn.LSTM`, in one and two directions."""

import pytest
import torch

from decoder.model.cells import CellWeights
from decoder.model.fused.rows import pack_rows
from decoder.model.inputs import sequence_input
from decoder.model.lstm import lstm_layer

R, P, B, D, H = 3, 7, 4, 5, 6


@pytest.mark.parametrize("n_directions", [1, 2])
def test_outputs_and_gradients_equal_nn_lstm(n_directions: int) -> None:
    source = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return (0.5 * torch.randn(shape, generator=source)).requires_grad_()

    directions = [
        CellWeights(draw(R, 4 * H, D), draw(R, 4 * H, H), draw(R, 4 * H), draw(R, 4 * H))
        for _ in range(n_directions)
    ]
    x, h0 = draw(R, P, B, D), draw(R, B, H)
    out = lstm_layer(sequence_input(x), directions, h0)
    upstream = torch.randn(out.shape, generator=source)
    out.backward(upstream)
    weights = [weight for direction in directions for weight in direction]
    for r in range(R):
        lstm = torch.nn.LSTM(D, H, bidirectional=n_directions == 2)
        for parameter, weight in zip(lstm.parameters(), weights, strict=True):
            parameter.data.copy_(weight[r])
        x_r, h_r = (t.detach()[r].clone().requires_grad_() for t in (x, h0))
        start = h_r.expand(n_directions, -1, -1).contiguous()
        expected, _ = lstm(x_r, (start, torch.zeros_like(start)))
        expected.backward(upstream[r])
        torch.testing.assert_close(out[r], expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(x.grad[r], x_r.grad, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(h0.grad[r], h_r.grad, rtol=1e-5, atol=1e-6)
        for parameter, weight in zip(lstm.parameters(), weights, strict=True):
            torch.testing.assert_close(weight.grad[r], parameter.grad, rtol=1e-5, atol=1e-6)


def test_rows_of_valid_patches_equal_the_padded_batch() -> None:
    source = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=source, dtype=torch.float64).requires_grad_()

    weights = CellWeights(draw(R, 4 * H, D), draw(R, 4 * H, H), draw(R, 4 * H), draw(R, 4 * H))
    x, h0 = draw(R, P, B, D), draw(R, B, H)
    rows = pack_rows(torch.tensor([3, 7, 0, 5]), P, torch.device("cpu"))
    packed = lstm_layer(sequence_input(rows.gather(x).unsqueeze(2)), [weights], h0, rows)
    padded = rows.gather(lstm_layer(sequence_input(x), [weights], h0))
    torch.testing.assert_close(packed[:, :, 0], padded)
    upstream = torch.randn(padded.shape, generator=source, dtype=torch.float64)
    leaves = (x, h0, *weights)
    for ours, theirs in zip(
        torch.autograd.grad(packed[:, :, 0], leaves, upstream),
        torch.autograd.grad(padded, leaves, upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
