"""The decoder over R runs: day layer → patches → recurrent or transformer layers → linear head.

By default it has the layers and initialisation of ``GRUDecoder`` of nejm-brain-to-text (T15); with
``bidirectional``, ``h0: zero`` and ``head_init: uniform`` those of neural_seq_decoder (T12). Every
parameter has a leading axis R, and all runs of a pack start with equal weights.

Dimensions: R runs, B batch, T bins, P patches, F features, H units, C classes.
"""

import itertools
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from decoder.data.alignment import n_patches as patches_of
from decoder.data.alignment import output_lengths
from decoder.extensions import UsedPart
from decoder.model.cells import Kernel
from decoder.model.day import DayLayer, DaySlice
from decoder.model.dropout import DropoutPlan
from decoder.model.fused.graphs import GraphCaches, bucket
from decoder.model.fused.layer import RowKernel, patch_kernels
from decoder.model.fused.row_patches import row_patch_input
from decoder.model.fused.rows import Rows, pack_rows
from decoder.model.inputs import patch_input
from decoder.model.kernel_choice import Workload, choose_kernel, default_kernel
from decoder.model.layers import LayerNorm, Linear, PostRNNLayer, drop, repeat
from decoder.model.own_parts import OwnPart
from decoder.model.patch_mask import mask_patches
from decoder.model.patches import to_blocks
from decoder.model.precision import computed_dtype
from decoder.model.recurrent import RecurrentLayer, recurrent_states
from decoder.model.transformer import PatchEmbedding, TransformerLayer, transformer_states
from decoder.parts import Kind
from decoder.phonemes import BLANK
from decoder.sections import ModelConfig
from decoder.seeding import generator
from decoder.training_sections import ModelPart

_CPU = torch.device("cpu")
ParameterGroup = Literal["bias", "day", "weight"]


class Output(NamedTuple):
    """The output of a decoder for a batch.

    Attributes:
        logits: (R, P, B, C).
        intermediate: (R, P, B, C) logits of each intermediate head, lowest layer first.
    """

    logits: Tensor
    intermediate: tuple[Tensor, ...] = ()


class PackedDecoder(nn.Module):
    """R decoders of the same shape that start from the same weights.

    Args:
        config: of any run; values that may differ between runs are passed separately.
        n_runs: R.
        n_days: number of recording days.
        n_features: F, features in a bin.
        n_classes: CTC classes, including the blank.
        seed: decides the initial weights.
        blank_bias: R values added to the blank's initial bias; empty adds nothing.
        used: the user's parts of the pack.
        device: where layers and encoders of the user's are tried.

    Raises:
        ConfigError: a part of the user's cannot be built, or returns another shape.
    """

    def __init__(
        self,
        config: ModelConfig,
        n_runs: int,
        n_days: int,
        n_features: int,
        n_classes: int,
        seed: int,
        blank_bias: Sequence[float] = (),
        used: Sequence[UsedPart] = (),
        device: torch.device = _CPU,
    ) -> None:
        super().__init__()
        source = generator(seed, "initial_weights")
        self.config = config
        self.used, self.n_features = list(used), n_features
        self.parts = nn.ModuleDict()  # layers and encoders of the user's
        n_inputs = config.patch_size * self._add_parts("layer_before", n_features, seed, device)
        self.kernel: Kernel | None = None  # None: the fastest, chosen by the first step of training
        self._graphs = GraphCaches()
        self.day_layer: DayLayer | None = None
        if config.day_layer != "none":
            n_layers = n_days if config.day_layer == "per_day" else 1
            self.day_layer = DayLayer(n_runs, n_layers, n_features)
        n_encoded = self._add_parts("encoder", n_inputs, seed, device)
        self.has_layers = not self._parts_of("encoder")  # of ours, whose sections are then read
        self.layers, n_states = nn.ModuleList(), n_encoded
        if self.has_layers:
            self.layers, n_states = _make_layers(config, n_runs, n_inputs, source)
        n_outputs = self._add_parts("layer_after", n_states, seed, device)
        n_hidden = config.post_rnn_units if config.post_rnn_layers else n_outputs
        self.head = Linear(n_runs, n_hidden, n_classes, source, config.head_init)
        self.h0: nn.Parameter | None = None  # shared by the layers and directions
        if config.h0 == "learned" and config.architecture != "transformer" and self.has_layers:
            h0 = nn.init.xavier_uniform_(torch.empty(1, 1, config.n_units), generator=source)
            self.h0 = repeat(h0[0, 0], n_runs)
        # Optional parts have their own generators, so they do not change the weights of the others.
        self.embedding: PatchEmbedding | None = None
        self.last_norm: LayerNorm | None = None
        if config.architecture == "transformer" and self.has_layers:
            source = generator(seed, "initial_weights/embedding")
            self.embedding = PatchEmbedding(config, n_runs, n_inputs, source)
            self.last_norm = LayerNorm(n_runs, n_states)
        self.mask_token: nn.Parameter | None = None
        if config.mask_token == "learned":
            source = generator(seed, "initial_weights/mask_token")
            self.mask_token = repeat(torch.randn(n_inputs, generator=source), n_runs)
        source = generator(seed, "initial_weights/post_rnn")
        widths = [n_outputs] + [config.post_rnn_units] * config.post_rnn_layers
        self.post_rnn = nn.ModuleList(
            [PostRNNLayer(n_runs, *pair, source) for pair in itertools.pairwise(widths)]
        )
        self.intermediate_heads = nn.ModuleDict()
        for layer in config.inter_ctc_layers:
            source = generator(seed, f"initial_weights/intermediate_head/{layer}")
            head = Linear(n_runs, n_states, n_classes, source, config.head_init)
            self.intermediate_heads[str(layer)] = head
        if any(blank_bias):
            for module in (self.head, *self.intermediate_heads.values()):
                module.get_parameter("bias").data[:, BLANK] += torch.tensor(blank_bias)

    def _add_parts(self, kind: Kind, n_inputs: int, seed: int, device: torch.device) -> int:
        """Add the user's parts of a kind, one after the other; the width of the last one."""
        for one in self.used:
            if one.part.kind == kind:
                name = one.part.name
                own = OwnPart(one, n_inputs, seed, device)
                self.parts[f"{name}_" if hasattr(self.parts, name) else name] = own
                n_inputs = own.n_outputs
        return n_inputs

    def _parts_of(self, kind: Kind) -> list[OwnPart]:
        parts = [part for part in self.parts.values() if isinstance(part, OwnPart)]
        return [part for part in parts if part.part.kind == kind]

    def buffers_of_runs(self) -> dict[str, Tensor]:
        """Name → (R, ...) what layers of the user's keep beside their weights."""
        return dict(self.named_buffers())

    def groups(self) -> dict[str, ParameterGroup]:
        """Name → parameter group, by the module of the parameter and its number of axes.

        As in the official T15 trainer, ``bias`` is every parameter with one axis per run: biases,
        and here also layer norms and the mask token. ``day`` is every parameter of the day layers,
        and ``weight`` is every other parameter, including h0.
        """
        groups: dict[str, ParameterGroup] = {
            name: "bias" if parameter.dim() <= 2 else "weight"
            for name, parameter in self.named_parameters()
        }
        if self.h0 is not None:
            groups["h0"] = "weight"
        if self.day_layer is not None:
            groups |= {n: "day" for n, _ in self.day_layer.named_parameters(prefix="day_layer")}
        return groups

    def model_parts(self) -> dict[str, ModelPart]:
        """Name → part of the decoder that ``optim.frozen`` may name, by the module it lies in."""
        heads: list[tuple[str, nn.Module]] = [("head", self.head), ("post_rnn", self.post_rnn)]
        heads += [("intermediate_heads", self.intermediate_heads)]
        parts: dict[str, ModelPart] = {name: "layers" for name, _ in self.named_parameters()}
        for stem, module in heads:
            parts |= {name: "head" for name, _ in module.named_parameters(prefix=stem)}
        if self.day_layer is not None:
            parts |= {n: "day" for n, _ in self.day_layer.named_parameters(prefix="day_layer")}
        return parts

    def forward(
        self,
        x: Tensor,
        slices: Sequence[DaySlice],
        dropout: DropoutPlan | None = None,
        *,
        n_patches: Tensor | None = None,
        hidden: Tensor | None = None,
        n_bins: Tensor | None = None,
    ) -> Output:
        """Logits of every run for one batch.

        Args:
            x: (R, B, T, F) augmented, smoothed features.
            slices: days of the batch, which is ordered by day.
            dropout: the masks of the step; None means no dropout.
            n_patches: (B,) valid patches of each trial; None means that all are valid. Attention
                reads no others, and with the kernels ``rows`` and ``fused`` recurrent layers of one
                direction compute no others. On the CPU they cost a GPU no wait.
            hidden: (R or 1, P, B) bool, patches hidden from the decoder; None hides nothing.
            n_bins: (B,) valid bins of each trial, on the device of x, for parts of the user's; None
                means that all are valid.

        Returns:
            Logits; those of patches that are not valid may be anything finite.
        """
        x = self._by_day(x, slices, dropout if self.embedding is None else None)
        if n_bins is None and len(self.parts):
            n_bins = torch.full(x.shape[1:2], x.shape[2], device=x.device)
        for part in self._parts_of("layer_before"):
            x = part(x, n_bins, dropout)
        rows: Rows | None = None
        whole = dropout
        if self.has_layers:
            kernel = self.kernel or self._choose_kernel(x, dropout, n_patches, hidden)
            states, rows, dropout = self._states(x, dropout, n_patches, hidden, kernel)
        else:
            states = [self._encoded(x, dropout, hidden, n_bins)]

        def padded(logits: Tensor) -> Tensor:
            return logits if rows is None else rows.scatter(logits.squeeze(2))

        intermediate = [
            padded(head(states[int(layer) - 1])) for layer, head in self.intermediate_heads.items()
        ]
        out = states[-1]
        if after := self._parts_of("layer_after"):
            out = padded(out).transpose(1, 2)  # (R, B, P, H)
            rows, dropout = None, whole
            for part in after:
                out = part(out, self._lengths(n_bins), dropout)
            out = out.transpose(1, 2)
        for i, layer in enumerate(self.post_rnn):
            out = layer(out, dropout, str(i))
        return Output(padded(self.head(out)), tuple(intermediate))

    def _lengths(self, n_bins: Tensor | None) -> Tensor:
        """(B,) valid patches of each trial, for parts of the user's."""
        assert n_bins is not None
        return output_lengths(n_bins, self.config)

    def _encoded(
        self,
        x: Tensor,
        dropout: DropoutPlan | None,
        hidden: Tensor | None,
        n_bins: Tensor | None,
    ) -> Tensor:
        """The output (R, P, B, H) of the user's encoder for features x (R, B, T, F)."""
        shape = self.config.patch_size, self.config.patch_stride
        source = patch_input(to_blocks(x, *shape), *shape)
        if hidden is not None:
            source = mask_patches(source, hidden, self.mask_token)
        [encoder] = self._parts_of("encoder")
        out: Tensor = encoder(source.dense().transpose(1, 2), self._lengths(n_bins), dropout)
        return out.transpose(1, 2)

    def _states(
        self,
        x: Tensor,
        dropout: DropoutPlan | None,
        n_patches: Tensor | None,
        hidden: Tensor | None,
        kernel: Kernel,
    ) -> tuple[list[Tensor], Rows | None, DropoutPlan | None]:
        """The output of each layer for features x (R, B, T, F), see `forward`.

        Returns:
            For each layer (R, P, B, n_outputs), None, and the plan as it is; or (R, V, 1,
            n_outputs), the rows of a packed batch, and the plan for its rows.
        """
        config = self.config
        shape = config.patch_size, config.patch_stride
        blocks = to_blocks(x, *shape)
        packing: RowKernel | None = None
        if config.architecture != "transformer" and (kernel == "rows" or kernel == "fused"):
            packing = kernel
        rows: Rows | None = None  # all patches
        if packing and n_patches is not None and not config.bidirectional:
            rows = pack_rows(n_patches, patches_of(x.shape[2], *shape), x.device)
            rows = None if rows.is_full else rows
        if rows is not None:  # from here on to the logits, tensors are (R, V, 1, ...)
            hidden = None if hidden is None else rows.gather(hidden).unsqueeze(2)
            dropout = None if dropout is None else dropout.of_rows(rows)
        if packing:
            source = row_patch_input(blocks, rows, *shape, patch_kernels(packing))
        else:
            source = patch_input(blocks, *shape)
        if hidden is not None:
            source = mask_patches(source, hidden, self.mask_token)
        if self.embedding is not None and self.last_norm is not None:
            transformer = [layer for layer in self.layers if isinstance(layer, TransformerLayer)]
            embedded = self.embedding(source, dropout)
            lengths = None if n_patches is None else n_patches.to(x.device)
            states = transformer_states(
                transformer, embedded, lengths, config.bidirectional, dropout
            )
            return [self.last_norm(state) for state in states], None, dropout
        R, B = x.shape[:2]
        h0 = x.new_zeros(R, config.n_units) if self.h0 is None else self.h0
        h0 = h0[:, None].expand(R, B, -1)
        recurrent = [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]
        states = recurrent_states(recurrent, source, h0, kernel, dropout, rows, self._graphs)
        return states, rows, dropout

    def _choose_kernel(
        self,
        x: Tensor,
        dropout: DropoutPlan | None,
        n_patches: Tensor | None,
        hidden: Tensor | None,
    ) -> Kernel:
        """The kernel: in training the fastest for this batch, which the pack then keeps.

        Args:
            x: (R, B, T, F) output of the day layer.
            dropout: see `forward`.
            n_patches: see `forward`.
            hidden: see `forward`.
        """
        config = self.config
        if config.architecture == "transformer":
            return "torch"  # which is not read
        if not torch.is_grad_enabled():
            return default_kernel(x.device)

        def run(kernel: Kernel) -> None:
            leaf = x.detach().requires_grad_()
            states, _, _ = self._states(leaf, dropout, n_patches, hidden, kernel)
            with torch.autocast(x.device.type, enabled=False):
                torch.autograd.grad(states[-1].sum(), [leaf, *self.layers.parameters()])

        R, B, T, _ = x.shape
        workload = Workload(
            device=x.device,
            cell=config.architecture,
            n_runs=R,
            n_trials=B,
            n_patches=bucket(patches_of(T, config.patch_size, config.patch_stride)),
            n_units=config.n_units,
            n_layers=config.n_layers,
            n_directions=1 + config.bidirectional,
            dtype=computed_dtype(x),
        )
        self.kernel = choose_kernel(workload, run)
        if self.kernel != "fused":
            self._graphs.clear()
        return self.kernel

    def _by_day(self, x: Tensor, slices: Sequence[DaySlice], dropout: DropoutPlan | None) -> Tensor:
        """The day layer and its dropout. (R, B, T, F) → the same shape."""
        if self.day_layer is None:
            return drop(x, dropout, "input_dropout")
        if self.config.day_layer == "shared":
            slices = [DaySlice(0, 0, x.shape[1])]
        factors = None if dropout is None else dropout.factors("input_dropout", *x.shape[1:])
        out: Tensor = self.day_layer(x, slices, factors)
        return out

    def keep_runs(self, rows: Sequence[int]) -> None:
        """Keep only the runs at `rows` of the leading axis, in that order."""
        for parameter in self.parameters():
            parameter.data = parameter.data[list(rows)].clone()
            parameter.grad = None
        self.used = [UsedPart(one.part, tuple(one.runs[row] for row in rows)) for one in self.used]
        for part in self.parts.values():
            assert isinstance(part, OwnPart)
            part.keep_runs(rows)
        self._graphs.clear()

    def n_parameters(self, frozen: Collection[ModelPart] = ()) -> int:
        """Number of values of one run, without those of frozen parts."""
        parts = self.model_parts()
        kept = [p for name, p in self.named_parameters() if parts[name] not in frozen]
        return sum(parameter[0].numel() for parameter in kept)


def _make_layers(
    config: ModelConfig, n_runs: int, n_inputs: int, source: torch.Generator
) -> tuple[nn.ModuleList, int]:
    """The layers of the configured architecture, and the width of their output."""
    if config.architecture == "transformer":
        blocks = [TransformerLayer(config, n_runs, source) for _ in range(config.n_layers)]
        return nn.ModuleList(blocks), config.n_units
    n_outputs = config.n_units * (1 + config.bidirectional)
    layers = [
        RecurrentLayer(
            n_runs,
            n_outputs if i else n_inputs,
            config.n_units,
            config.architecture,
            config.bidirectional,
            config.layer_norm,
            source,
        )
        for i in range(config.n_layers)
    ]
    return nn.ModuleList(layers), n_outputs
