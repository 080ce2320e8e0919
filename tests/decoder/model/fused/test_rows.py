"""Packed rows compared with torch's packed sequences, and their round trip."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from decoder.model.dropout import DropoutPlan
from decoder.model.fused.rows import all_rows, pack_rows
from decoder.sections import ModelConfig

CPU = torch.device("cpu")
LENGTHS = torch.tensor([3, 6, 0, 6, 1])


def test_rows_of_three_trials_worked_by_hand() -> None:
    rows = pack_rows(torch.tensor([1, 3, 2]), 4, CPU)
    assert rows.order.tolist() == [1, 2, 0]
    assert rows.n_active.tolist() == [3, 2, 1, 0, 0]
    assert rows.offsets.tolist() == [0, 3, 5, 6, 6]
    assert rows.index.tolist() == [1, 2, 0, 4, 5, 7]
    assert rows.previous.tolist() == [0, 1, 2, 3, 4, 6]  # three initial states, then the rows
    assert rows.n_rows == 6 and not rows.is_full


def test_rows_are_those_of_a_packed_sequence_of_torch() -> None:
    lengths = torch.tensor([4, 7, 1, 7, 2])
    x = torch.arange(7 * 5.0).view(7, 5, 1)
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    rows = pack_rows(lengths, 7, CPU)
    assert torch.equal(rows.gather(x[None])[0], packed.data)
    assert torch.equal(rows.batch_sizes, packed.batch_sizes)
    assert rows.n_active.tolist() == [*packed.batch_sizes.tolist(), 0]
    assert sorted(rows.order.tolist()) == [0, 1, 2, 3, 4]


def test_scatter_undoes_gather_and_leaves_zeros_after_the_end() -> None:
    rows = pack_rows(LENGTHS, 8, CPU)
    x = torch.randn(2, 8, 5, 3, generator=torch.Generator().manual_seed(0))
    back = rows.scatter(rows.gather(x))
    valid = torch.arange(8)[:, None] < LENGTHS
    assert torch.equal(back, x * valid[..., None])
    assert rows.n_rows == int(LENGTHS.sum())


def test_gather_and_scatter_have_the_gradients_of_each_other() -> None:
    rows = pack_rows(LENGTHS, 6, CPU)
    x = torch.randn(2, 6, 5, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(rows.gather, x)
    packed = torch.randn(2, rows.n_rows, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(rows.scatter, packed)


def test_a_row_points_at_the_state_of_the_same_trial_one_step_before() -> None:
    rows = pack_rows(LENGTHS, 6, CPU)
    trial = rows.index % 5
    step = rows.index // 5
    of_state = torch.cat([rows.order, trial])
    step_of_state = torch.cat([torch.full((5,), -1), step])
    assert torch.equal(of_state[rows.previous], trial)
    assert torch.equal(step_of_state[rows.previous], step - 1)


def test_full_rows_are_the_batch_itself() -> None:
    rows = all_rows(4, 3, CPU)
    x = torch.randn(2, 4, 3, 5)
    assert rows.is_full
    assert rows.gather(x).data_ptr() == x.data_ptr()
    assert torch.equal(rows.scatter(rows.gather(x)), x)
    assert torch.equal(rows.index, torch.arange(12))
    assert torch.equal(rows.previous, torch.arange(12))


@pytest.mark.parametrize("lengths", [[0, 0], [0, 2]])
def test_trials_without_patches_have_no_rows(lengths: list[int]) -> None:
    rows = pack_rows(torch.tensor(lengths), 3, CPU)
    assert rows.n_rows == sum(lengths)
    assert rows.scatter(rows.gather(torch.ones(1, 3, 2, 1))).sum() == sum(lengths)


@pytest.mark.parametrize("rates", [[0.4, 0.4], [0.1, 0.6]])
def test_dropout_of_rows_has_the_draws_of_the_padded_batch(rates: list[float]) -> None:
    configs = [ModelConfig(rnn_dropout=rate, input_dropout=0.0) for rate in rates]
    plan = DropoutPlan(configs, 0, 5, CPU)
    rows = pack_rows(LENGTHS, 6, CPU)
    got = plan.of_rows(rows).factors("rnn_dropout", rows.n_rows, 1, 7, place="1")
    dense = plan.factors("rnn_dropout", 6, 5, 7, place="1")
    assert got is not None and dense is not None
    assert got.shape == (len(dense), rows.n_rows, 1, 7)
    assert torch.equal(got[:, :, 0], rows.gather(dense))
    assert plan.of_rows(rows).factors("input_dropout", rows.n_rows, 1, 7) is None
