"""`decoder.import_helpers`: keys that only give other keys their values."""

from pathlib import Path

import pytest

from decoder.import_helpers import named_by
from decoder.importing import import_file

FILE = """num_training_batches: 2000
lr_decay_steps: 2000
model: {n_units: 256, n_layers: 3}
"""


def test_interpolations_name_keys_from_the_top_and_from_where_they_stand() -> None:
    values = {
        "a": {"b": "${.c}", "d": {"e": "${..c} and ${top.list[0]}"}},
        "f": "${g}/${oc.env:HOME}",
    }
    assert list(named_by(values)) == [
        *[("a.c", "a.b"), ("a.c", "a.d.e"), ("top.list.0", "a.d.e"), ("g", "f")]
    ]


@pytest.mark.parametrize(
    ("more", "refused"),
    [
        ("lr_max: ${common.rate}\ncommon: {rate: 0.003}\n", []),
        ("lr_max: ${common.rate}\ncommon: {rate: 0.003, warp: 7}\n", ["common.warp"]),
        ("dataset: ${ds}\nds: {batch_size: 32, days_per_batch: 4}\n", []),
        ("dataset: ${ds}\nds: {batch_size: 32, mixup: 0.3}\n", ["dataset.mixup"]),
        ("use_warp: true\noutput_dir: runs/${use_warp}\n", ["use_warp"]),
        ("warp: 0.3\nspec_warp: ${warp}\n", ["spec_warp", "warp"]),
    ],
)
def test_a_key_whose_value_is_taken_over_is_not_lost(
    tmp_path: Path, more: str, refused: list[str]
) -> None:
    path = tmp_path / "args.yaml"
    path.write_text(FILE + more)
    imported = import_file(path)
    assert sorted(entry.key for entry in imported.with_outcome("unsupported")) == refused
    assert imported.config.optim.lr_max == (0.003 if "common" in more else 0.005)
