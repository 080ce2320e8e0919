"""Metrics of hand-made logits: counts, ratios, diagnostics of blank collapse."""

import math

import pytest
import torch

from decoder.metrics import MetricSums, TrainingSums

CPU = torch.device("cpu")


def logits_for(*rows: list[int]) -> torch.Tensor:
    """(1, P, B, 5) confident logits whose argmax is the given class at each patch."""
    best = torch.tensor(rows).T  # (P, B)
    return 50.0 * torch.nn.functional.one_hot(best, 5).float()[None]


def test_counts_by_hand() -> None:
    sums = MetricSums.zeros(1, CPU)
    logits = logits_for([1, 1, 0, 2, 3], [0, 0, 0, 4, 4])
    labels, n_labels = torch.tensor([[1, 2, 2], [4, 0, 0]]), torch.tensor([3, 1])
    emitted = sums.add(logits, labels, torch.tensor([4, 3]), n_labels, False, torch.tensor([8, 5]))
    [row] = sums.rows()
    assert emitted == [[[1, 2], []]]
    # First trial: 4 frames, decodes to [1, 2] against [1, 2, 2]; second: 3 blank frames.
    assert row["n_edits"] == 2 and row["n_reference"] == 4 and row["per"] == 0.5
    assert row["n_edits_even"] == 1 and row["n_reference_even"] == 3
    assert row["blank_fraction"] == pytest.approx(4 / 7)
    assert row["emitted_ratio"] == pytest.approx(2 / 4)
    assert row["n_distinct"] == 2
    assert row["blank_posterior"] == pytest.approx(4 / 7)
    assert row["entropy_nats"] == pytest.approx(0.0, abs=1e-6)


def test_uniform_posteriors_have_the_largest_entropy() -> None:
    sums = MetricSums.zeros(2, CPU)
    labels, n_labels = torch.tensor([[1]]), torch.tensor([1])
    sums.add(torch.zeros(2, 6, 1, 5), labels, torch.tensor([6]), n_labels, False, torch.tensor([0]))
    for row in sums.rows():
        assert row["entropy_nats"] == pytest.approx(math.log(5))
        assert row["blank_posterior"] == pytest.approx(0.2)


def test_per_is_a_ratio_of_sums_over_batches() -> None:
    sums = MetricSums.zeros(1, CPU)
    for labels in ([[1]], [[2, 3, 4, 1]]):
        n_labels = torch.tensor([len(labels[0])])
        logits = logits_for([1, 0, 0, 0, 0, 0, 0, 0, 0])
        sums.add(
            logits, torch.tensor(labels), torch.tensor([9]), n_labels, False, torch.tensor([0])
        )
    [row] = sums.rows()
    assert row["per"] == 3 / 5  # not the mean of 0 and 3/4


def test_an_empty_target_is_left_out_of_the_denominator_and_the_edits() -> None:
    sums = MetricSums.zeros(1, CPU)
    logits = logits_for([1, 0, 2, 0])
    sums.add(
        logits,
        torch.zeros(1, 1, dtype=torch.long),
        torch.tensor([4]),
        torch.tensor([0]),
        False,
        torch.tensor([1]),
    )
    [row] = sums.rows()
    assert row["n_reference"] == 0 and row["n_edits"] == 0


def test_training_sums_average_since_the_last_evaluation_and_keep_the_dose() -> None:
    sums = TrainingSums.zeros(2, CPU)
    ones, rates = torch.ones(2), torch.tensor([0.1, 0.2], dtype=torch.float64)
    sums.add(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 20.0]), torch.tensor([1.0, 0.5]), rates)
    sums.add(torch.tensor([4.0, 4.0]), torch.tensor([3.0, 10.0]), ones, rates)
    first, second = sums.rows()
    assert first["train_loss"] == 3.0 and first["grad_norm"] == 2.0
    assert second["clipped_share"] == 0.5 and second["grad_norm_max"] == 20.0
    assert first["learning_dose"] == pytest.approx(0.1 * 1 + 0.1 * 3)
    assert second["learning_dose"] == pytest.approx(0.2 * 10 + 0.2 * 10)
    sums.start_interval(torch.tensor([True, False]))
    sums.add(torch.tensor([7.0, 7.0]), ones, ones, rates)
    first, second = sums.rows()
    assert first["train_loss"] == 7.0 and second["train_loss"] == pytest.approx(5.0)
    assert first["learning_dose"] == pytest.approx(0.5)


def test_every_run_sums_its_own_logits_over_all_batches() -> None:
    """Two runs, two batches: the blank after the end of a trial counts nowhere."""
    sums = MetricSums.zeros(2, CPU)
    source = torch.Generator().manual_seed(0)
    lengths = [torch.tensor([3, 5]), torch.tensor([4])]
    labels = [torch.tensor([[1, 2], [3, 0]]), torch.tensor([[4, 4]])]
    n_labels = [torch.tensor([2, 1]), torch.tensor([2])]
    logits = [torch.randn(2, 5, 2, 5, generator=source), torch.randn(2, 5, 1, 5, generator=source)]
    logits[0][:, 3:, 0, 0] += 50.0  # a blank after the end
    losses, entropies, blanks, n_blank = ([0.0, 0.0] for _ in range(4))
    for batch in range(2):
        emitted = sums.add(
            logits[batch],
            labels[batch],
            lengths[batch],
            n_labels[batch],
            False,
            torch.tensor([2, 4][: len(lengths[batch])]),
        )
        assert [len(run) for run in emitted] == [len(lengths[batch])] * 2
        log_probs = logits[batch].log_softmax(-1)
        for run in range(2):
            ctc = torch.nn.CTCLoss(reduction="none")
            losses[run] += float(
                ctc(log_probs[run], labels[batch], lengths[batch], n_labels[batch]).sum()
            )
            for trial, n in enumerate(lengths[batch].tolist()):
                frames = log_probs[run, :n, trial]
                entropies[run] += float(-(frames.exp() * frames).sum())
                blanks[run] += float(frames[:, 0].exp().sum())
                n_blank[run] += int((frames.argmax(-1) == 0).sum())
    for run, row in enumerate(sums.rows()):
        assert row["val_loss"] == pytest.approx(losses[run] / 3, rel=1e-5)
        assert row["entropy_nats"] == pytest.approx(entropies[run] / 12, rel=1e-5)
        assert row["blank_posterior"] == pytest.approx(blanks[run] / 12, rel=1e-5)
        assert row["blank_fraction"] == pytest.approx(n_blank[run] / 12)
        assert row["n_reference"] == row["n_reference_even"] == 5


def test_one_frame_and_one_label_are_divided_by_one() -> None:
    sums = MetricSums.zeros(1, CPU)
    one = torch.tensor([1])
    sums.add(torch.zeros(1, 1, 1, 5), torch.tensor([[2]]), one, one, False, torch.tensor([0]))
    [row] = sums.rows()
    assert row["per"] == 1.0 and row["blank_posterior"] == pytest.approx(0.2)
    assert row["val_loss"] == pytest.approx(math.log(5))


def test_sums_are_kept_in_float64() -> None:
    of_evaluation = MetricSums.zeros(1, CPU)
    names = ("n_blank_frames", "blank_posterior", "entropy_nats", "loss")
    of_training = TrainingSums.zeros(1, CPU)
    tensors = [getattr(of_evaluation, name) for name in names] + [*of_training.state().values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float64}


def test_a_run_that_skips_a_step_averages_over_the_others() -> None:
    sums = TrainingSums.zeros(2, CPU)
    ones, rates = torch.ones(2), torch.tensor([0.1, 0.1], dtype=torch.float64)
    first = torch.tensor([True, False])
    sums.add(torch.tensor([2.0, 0.0]), torch.tensor([4.0, 0.0]), ones, rates, first)
    taken, skipped = sums.rows()
    assert taken["train_loss"] == 2.0 and skipped["train_loss"] == math.inf
    sums.add(torch.tensor([6.0, 6.0]), torch.tensor([2.0, 2.0]), ones, rates, first | True)
    taken, skipped = sums.rows()
    assert (taken["train_loss"], skipped["train_loss"]) == (4.0, 6.0)
    assert (taken["grad_norm"], skipped["grad_norm"]) == (3.0, 2.0)
    assert skipped["learning_dose"] == 0.2  # exact: the rates are float64


def test_the_sums_of_the_runs_that_stay_are_kept_in_their_order() -> None:
    sums = TrainingSums.zeros(3, CPU)
    losses, ones = torch.tensor([1.0, 2.0, 3.0]), torch.ones(3)
    sums.add(losses, 10 * losses, ones, torch.zeros(3, dtype=torch.float64))
    sums.keep_runs([2, 0])
    rows = sums.rows()
    assert [row["train_loss"] for row in rows] == [3.0, 1.0]
    assert [row["grad_norm"] for row in rows] == [30.0, 10.0]


def test_sums_that_were_sent_to_the_host_are_the_same() -> None:
    sums = MetricSums.zeros(1, CPU)
    one = torch.tensor([1])
    sums.add(torch.randn(1, 3, 1, 5), torch.tensor([[2]]), 3 * one, one, False, torch.tensor([0]))
    before = sums.rows()
    sums.send_to_host()
    assert sums.rows() == before
