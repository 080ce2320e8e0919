"""The number of trainable parameters of a model, from its configuration alone."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from decoder.sections import ModelConfig

# With gradients and Adam's moments 160 GB: more than the memory of any one GPU. The official T15
# decoder has 4.4e7.
MOST_PARAMETERS = 10**10
_DISTANCE_BIASES = 399  # of a transformer layer with relative positions


class Widths(NamedTuple):
    """Widths that parts of the user's change; None where they change nothing.

    Attributes:
        features: of a bin before the patches.
        encoded: of the output of an encoder, which then stands in the place of the layers.
        last: of what the post-RNN layers or the head read.
    """

    features: int | None = None
    encoded: int | None = None
    last: int | None = None


_OURS = Widths()


def count_parameters(
    model: "ModelConfig", n_features: int, n_classes: int, n_days: int, widths: Widths = _OURS
) -> int:
    """The trainable numbers of one run, as `decoder.model.decoder.PackedDecoder` has them.

    Those of the user's parts are not counted.
    """
    F, C, H = n_features, n_classes, model.n_units
    n_inputs = model.patch_size * (widths.features or F)
    n_outputs = model.n_states if widths.encoded is None else widths.encoded
    n_day_layers = {"per_day": n_days, "shared": 1, "none": 0}[model.day_layer]
    total = n_day_layers * (F * F + F)
    if widths.encoded is not None:
        pass
    elif model.architecture == "transformer":
        inner, wide = model.n_heads * model.head_units, model.ff_ratio * H
        layer = 4 * H + 3 * H * inner + inner * H + H + 2 * H * wide + wide + H
        layer += _DISTANCE_BIASES if model.position == "relative" else 0
        total += model.n_layers * layer
        total += 2 * n_inputs + n_inputs * H + H + 2 * H + 2 * H
    else:
        gates = H * (3 if model.architecture == "gru" else 4)
        for index in range(model.n_layers):
            width = n_outputs if index else n_inputs
            total += (1 + model.bidirectional) * gates * (width + H + 2)
            total += 2 * n_outputs if model.layer_norm else 0
        total += H if model.h0 == "learned" else 0
    total += n_inputs if model.mask_token == "learned" else 0
    width = widths.last or n_outputs
    for _ in range(model.post_rnn_layers):
        total += (width + 3) * model.post_rnn_units
        width = model.post_rnn_units
    total += (width + 1) * C
    return total + len(model.inter_ctc_layers) * (n_outputs + 1) * C
