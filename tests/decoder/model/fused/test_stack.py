"""All layers in one function, compared with layer after layer over the padded batch."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from decoder import remarks
from decoder.model.cells import CellWeights
from decoder.model.fused import plain_steps
from decoder.model.fused.available import why_not
from decoder.model.fused.graphs import Function, GraphCache
from decoder.model.fused.rows import Rows, pack_rows
from decoder.model.fused.stack import StackLayer, stack_states
from decoder.model.fused.steps import StepKernels
from decoder.model.gru import gru_layer
from decoder.model.inputs import sequence_input

CPU = torch.device("cpu")
D, H = 5, 6
LENGTHS = [[3], [7, 4, 7], [1, 18, 9, 0], [16, 16]]
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


class ReplayedCapture:
    """Captures as a GPU does: the functions of the first call, replayed over the same buffers."""

    n_replays = 0

    def warm_up(self, function: Function) -> None:
        function()

    def capture(self, function: Function) -> Function:
        def replay() -> None:
            self.n_replays += 1
            function()

        return replay


class Case(NamedTuple):
    """A batch of inputs x (R, P, B, D), weights of every layer, dropout, upstream gradients."""

    lengths: Tensor
    x: Tensor
    h0: Tensor
    weights: list[CellWeights]
    factors: list[Tensor | None]
    upstream: list[Tensor | None]

    def leaves(self) -> list[Tensor]:
        return [self.x, self.h0, *[w for layer in self.weights for w in layer]]


def make_case(
    n_runs: int,
    n_layers: int,
    lengths: Sequence[int],
    dropout: str = "shared",
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Case:
    source = torch.Generator().manual_seed(seed)
    R, P, B = n_runs, max(lengths), len(lengths)

    def draw(*shape: int) -> Tensor:
        return 0.5 * torch.randn(shape, generator=source, dtype=dtype)

    weights = []
    for i in range(n_layers):
        shapes = [(R, 3 * H, H if i else D), (R, 3 * H, H), (R, 3 * H), (R, 3 * H)]
        weights.append(CellWeights(*[draw(*shape).requires_grad_() for shape in shapes]))
    n_factors = {"none": 0, "shared": 1, "own": R}[dropout]
    factors = [
        (draw(n_factors, P, B, H) > -0.3).to(dtype) / 0.7 if n_factors else None
        for _ in range(n_layers - 1)
    ]
    valid = torch.arange(P)[:, None, None] < torch.tensor(lengths)[:, None]
    upstream = [draw(R, P, B, H) * valid for _ in range(n_layers)]
    return Case(
        torch.tensor(lengths),
        draw(R, P, B, D).requires_grad_(),
        draw(R, B, H).requires_grad_(),
        weights,
        factors,
        [u if i != n_layers - 2 else None for i, u in enumerate(upstream)],  # a layer with no head
    )


def padded(case: Case) -> list[Tensor]:
    """Layer after layer with the `batched` kernel, (R, P, B, H) each."""
    x, states = case.x, []
    for i, weights in enumerate(case.weights):
        states.append(gru_layer(sequence_input(x), [weights], case.h0, "batched"))
        if i < len(case.factors):
            x = states[-1] if case.factors[i] is None else states[-1] * case.factors[i]
    return states


def n_first(w: Tensor) -> Tensor:
    return w.roll(w.shape[1] // 3, 1)


def fused(
    case: Case,
    rows: Rows,
    cache: GraphCache,
    chunk: int = 4,
    kernels: StepKernels = plain_steps,
    dtype: torch.dtype | None = None,
) -> list[Tensor]:
    """The stack over packed rows, (R, V, H) each."""
    layers = []
    gates_in = torch.empty(0)
    for i, (w_ih, w_hh, b_ih, b_hh) in enumerate(case.weights):
        h = w_hh.shape[-1]
        rz = torch.cat([b_hh[:, : 2 * h], torch.zeros_like(b_hh[:, 2 * h :])], 1)
        bias = n_first(b_ih + rz)
        if i == 0:
            x = rows.gather(case.x)
            gates_in = torch.baddbmm(bias[:, None], x, n_first(w_ih).mT).to(dtype or x.dtype)
        above = (w_ih, bias) if i else (None, None)
        layers.append(StackLayer(w_hh, b_hh[:, 2 * h :], *above))
    factors = [None if f is None else rows.gather(f) for f in case.factors]
    h0 = rows.sort_trials(case.h0)
    return list(stack_states(gates_in, layers, h0, factors, rows, kernels, cache, chunk))


def gradients(case: Case, states: Sequence[Tensor], rows: Rows | None = None) -> list[Tensor]:
    loss = torch.zeros((), dtype=torch.float64, device=states[0].device)
    for state, upstream in zip(states, case.upstream, strict=True):
        if upstream is not None:
            loss = loss + (state * (upstream if rows is None else rows.gather(upstream))).sum()
    return list(torch.autograd.grad(loss, case.leaves()))


def rows_of(case: Case, n_more: int = 0) -> Rows:
    return pack_rows(case.lengths, case.x.shape[1] + n_more, case.x.device)


def assert_equal_to_padded(case: Case, cache: GraphCache, chunk: int = 4) -> None:
    rows = rows_of(case)
    expected, got = padded(case), fused(case, rows, cache, chunk)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, rows.gather(theirs), rtol=1e-10, atol=1e-12)
    of_padded, of_fused = gradients(case, expected), gradients(case, got, rows)
    for ours, theirs in zip(of_fused, of_padded, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(("n_runs", "n_layers"), [(1, 1), (1, 3), (3, 2)])
def test_states_and_gradients_equal_those_of_layer_after_layer(
    n_runs: int, n_layers: int, lengths: list[int]
) -> None:
    assert_equal_to_padded(make_case(n_runs, n_layers, lengths), GraphCache(CPU))


@pytest.mark.parametrize("chunk", [1, 3, 16, 100])
def test_the_chunk_does_not_change_the_result(chunk: int) -> None:
    assert_equal_to_padded(make_case(2, 3, [18, 5, 11]), GraphCache(CPU), chunk)


@pytest.mark.parametrize("dropout", ["none", "shared", "own"])
def test_dropout_between_layers_is_that_of_the_padded_batch(dropout: str) -> None:
    assert_equal_to_padded(make_case(2, 3, [6, 9], dropout), GraphCache(CPU))


def test_batches_of_one_bucket_share_a_graph_and_those_of_another_have_their_own() -> None:
    capture = ReplayedCapture()
    cache = GraphCache(CPU, capture=capture)
    lengths = [[20, 18, 19], [10, 9, 10], [9, 10, 10], [12, 10, 7], [10, 9, 10], [19, 18, 20]]
    for seed, some in enumerate(lengths):
        assert_equal_to_padded(make_case(2, 3, some, seed=seed), cache)
    assert len(cache) == 2 and capture.n_replays == 2 * 4


def test_what_a_longer_batch_left_in_the_buffers_is_not_read() -> None:
    cache = GraphCache(CPU)
    for some in ([16, 16, 16], [15, 13, 15]):
        case = make_case(2, 2, some)
        if some[0] == 16:
            with torch.no_grad():
                case.x.fill_(float("nan"))
            states = fused(case, rows_of(case), cache)
            gradients(case, states, rows_of(case))
            assert states[-1].isnan().all()
        else:
            assert_equal_to_padded(case, cache)
    assert len(cache) == 1


def test_a_pack_that_loses_a_run_and_moves_its_weights_goes_on() -> None:
    cache = GraphCache(CPU, capture=ReplayedCapture())
    case = make_case(3, 2, [7, 5])
    for _ in range(3):
        assert_equal_to_padded(case, cache)
    for leaf in case.leaves():
        leaf.data = 0.5 * leaf.data  # in another place
    assert_equal_to_padded(case, cache)
    cache.clear()
    for _ in range(3):
        assert_equal_to_padded(make_case(2, 2, [7, 5]), cache)


def test_accumulated_gradients_are_the_sum_of_those_of_each_batch() -> None:
    cache = GraphCache(CPU, capture=ReplayedCapture())
    case = make_case(2, 2, [9, 4])
    other = case._replace(x=(case.x.detach() * 2).requires_grad_())
    expected = [
        sum(pair)
        for pair in zip(gradients(case, padded(case)), gradients(other, padded(other)), strict=True)
    ]
    for _ in range(3):
        leaves = case.leaves()[1:]
        for leaf in leaves:
            leaf.grad = None
        for batch in (case, other):
            rows = rows_of(batch)
            states = fused(batch, rows, cache)
            loss = sum(
                (s * rows.gather(u)).sum()
                for s, u in zip(states, batch.upstream, strict=True)
                if u is not None
            )
            loss.backward()
        for leaf, total in zip(leaves, expected[1:], strict=True):
            torch.testing.assert_close(leaf.grad, total, rtol=1e-9, atol=1e-11)


def test_two_forwards_before_a_backward_do_not_disturb_each_other() -> None:
    cache = GraphCache(CPU, capture=ReplayedCapture())
    first, second = make_case(2, 2, [9, 4], seed=1), make_case(2, 2, [9, 4], seed=2)
    for _ in range(3):
        assert_equal_to_padded(first, cache)
    states = [fused(case, rows_of(case), cache) for case in (first, second)]
    for case, ours in zip((first, second), states, strict=True):
        expected = gradients(case, padded(case))
        for a, b in zip(gradients(case, ours, rows_of(case)), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_an_evaluation_between_forward_and_backward_does_not_disturb_it() -> None:
    cache = GraphCache(CPU, capture=ReplayedCapture())
    case, other = make_case(2, 2, [9, 4]), make_case(2, 2, [12, 12], seed=1)
    for _ in range(3):
        assert_equal_to_padded(case, cache)
    states = fused(case, rows_of(case), cache)
    with torch.no_grad():
        evaluated = fused(other, rows_of(other), cache)
    got = gradients(case, states, rows_of(case))
    for a, b in zip(got, gradients(case, padded(case)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    with torch.no_grad():
        for ours, theirs in zip(evaluated, padded(other), strict=True):
            torch.testing.assert_close(ours, rows_of(other).gather(theirs))


def test_states_without_a_gradient_outlive_the_next_call() -> None:
    cache = GraphCache(CPU)
    case = make_case(2, 2, [9, 4])
    with torch.no_grad():
        states = fused(case, rows_of(case), cache)
        copies = [state.clone() for state in states]
        other = make_case(2, 2, [9, 4], seed=1)
        fused(other, rows_of(other), cache)
    assert all(torch.equal(a, b) for a, b in zip(states, copies, strict=True))


def test_a_second_backward_is_an_error() -> None:
    case = make_case(1, 2, [3])
    loss = fused(case, rows_of(case), GraphCache(CPU))[-1].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once for each forward"):
        loss.backward()


def test_states_read_by_a_later_layer_may_not_be_overwritten_unnoticed() -> None:
    """A backward through states of a call whose buffers were used again is an error."""
    cache = GraphCache(CPU)
    case = make_case(1, 2, [3])
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    states = fused(case, rows_of(case), cache)[-1]
    late = (states.detach() * scale).sum()  # keeps the states, not the call that made them
    del states
    other = make_case(1, 2, [3], seed=1)
    fused(other, rows_of(other), cache)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        late.backward()


def test_autocast_computes_in_the_type_of_the_input_and_returns_gradients_of_the_weights() -> None:
    case = make_case(2, 2, [9, 4], dtype=torch.float32)
    rows = rows_of(case)
    expected = gradients(case, padded(case))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = fused(case, rows, GraphCache(CPU), dtype=torch.bfloat16)
    assert all(state.dtype == torch.bfloat16 for state in states)
    got = gradients(case, states, rows)
    for ours, theirs, leaf in zip(got, expected, case.leaves(), strict=True):
        assert ours.dtype == leaf.dtype == torch.float32
        assert (ours - theirs).norm() < 0.03 * theirs.norm()


@pytest.mark.skipif(why_not(CPU) is not None, reason="needs Triton's interpreter")
@pytest.mark.parametrize(
    ("n_runs", "n_layers", "lengths", "chunk"),
    [(1, 2, [3, 2], 2), (2, 2, [2], 16), (1, 3, [2, 3, 1], 1)],
)
def test_by_the_kernels_of_triton_the_result_is_the_same(
    n_runs: int, n_layers: int, lengths: list[int], chunk: int
) -> None:
    from decoder.model.fused import triton_steps

    case = make_case(n_runs, n_layers, lengths, "shared", torch.float32)
    rows = rows_of(case)
    expected, got = padded(case), fused(case, rows, GraphCache(CPU), chunk, triton_steps)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, rows.gather(theirs), rtol=1e-5, atol=1e-6)
    of_padded, of_fused = gradients(case, expected), gradients(case, got, rows)
    for ours, theirs in zip(of_fused, of_padded, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


# On a GPU


def on_gpu(case: Case) -> Case:
    def move(t: Tensor) -> Tensor:
        return t.detach().cuda().requires_grad_()

    return Case(
        case.lengths,
        move(case.x),
        move(case.h0),
        [CellWeights(*map(move, weights)) for weights in case.weights],
        [None if f is None else f.cuda() for f in case.factors],
        [None if u is None else u.cuda() for u in case.upstream],
    )


def relative(ours: Tensor, theirs: Tensor) -> float:
    theirs = theirs.double()
    return float((ours.detach().cpu().double() - theirs).norm() / theirs.norm())


@on_a_gpu
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_graphs_on_a_gpu_give_the_result_of_layer_after_layer_on_a_cpu(
    dtype: torch.dtype, most: float
) -> None:
    from decoder.model.fused import triton_steps

    cache = GraphCache(torch.device("cuda"))
    for seed, lengths in enumerate([[70, 65, 90, 81], [90, 90, 3, 1], [64], [70, 90, 88, 96]] * 3):
        case = make_case(3, 3, lengths, seed=seed)
        here = on_gpu(case._replace(x=case.x.detach()))
        rows = pack_rows(case.lengths, max(lengths), torch.device("cuda"))
        expected = padded(case)
        got = fused(here, rows, cache, 16, triton_steps, dtype)
        plain_rows = rows_of(case)
        for ours, theirs in zip(got, expected, strict=True):
            assert relative(ours, plain_rows.gather(theirs)) < most
        of_padded, of_fused = gradients(case, expected), gradients(here, got, rows)
        for ours, theirs in zip(of_fused, of_padded, strict=True):
            assert relative(ours, theirs) < most
    entries = list(cache._entries.values())
    assert any(set(entry.replays) == {"forward", "backward"} for entry in entries)
    assert remarks.take_remarks() == ()


@on_a_gpu
def test_a_replay_is_equal_to_the_bit_to_the_call_that_was_captured() -> None:
    from decoder.model.fused import triton_steps

    device = torch.device("cuda")
    cache = GraphCache(device)
    case = on_gpu(make_case(2, 5, [61, 40, 64], dtype=torch.float32))
    rows = pack_rows(case.lengths, 64, device)
    results = []
    for _ in range(4):  # run, captured, replayed, replayed
        states = fused(case, rows, cache, 16, triton_steps, torch.bfloat16)
        copies = [state.detach().clone() for state in states]
        results.append([*copies, *gradients(case, states, rows)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
