"""Small search files, and training that is only pretended."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

BASE: dict[str, Any] = {
    "data": {"path": "synthetic:tiny", "batch_size": 4, "days_per_batch": 2},
    "model": {"n_units": 8, "n_layers": 1},
    "optim": {"lr_warmup_steps": 2},
    "train": {"n_steps": 80, "eval_every_steps": 10},
}
SPEC: dict[str, Any] = {
    "name": "hunt",
    "question": "Which rate?",
    "base": "base.yaml",
    "space": {
        "optim.lr_max": {"log": [0.0005, 0.05]},
        "optim.epsilon": {"log": [1e-8, 1.0]},
    },
    "n_candidates": 12,
    "seeds": [1, 2],
    "batch": 4,
    "stopping": {"method": "asha", "min_steps": 20, "reduction_factor": 2},
    "confirm": {"best": 2, "seeds": [11, 12, 13, 14, 15, 16], "margin": 0.02},
}

WriteSearch = Callable[..., Path]


@pytest.fixture
def write_search(tmp_path: Path) -> WriteSearch:
    """Writes ``search.yaml`` beside its base; keyword arguments replace top-level keys."""

    def write(**changes: Any) -> Path:
        (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
        path = tmp_path / "search.yaml"
        document: Mapping[str, Any] = {
            key: value for key, value in {**SPEC, **changes}.items() if value is not ...
        }
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    return write
