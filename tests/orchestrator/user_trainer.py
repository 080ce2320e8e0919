"""A trainer that is not ours, as files: its configuration, its code, and an ablation of it."""

import copy
import json
from pathlib import Path
from typing import Any

import yaml

ARGS = """\
lr: 0.01
lr_min: ${lr}
n_batches: 20
dropout: null
amp: true
kind: gru
sizes: [4, 4]
data_dir: ../data
seed: 10
out:
  dir: none
  log: ${out.dir}/log
model: {n_units: 8, depth: 2}
"""
# A trainer that leaves a mark wherever it is executed.
CODE = "from pathlib import Path\nPath(__file__).with_name('executed').touch()\n"

LEAST: dict[str, Any] = {
    "command": ["python", "train.py", "--config", "{config}"],
    "base": "args.yaml",
    "seed": ["seed"],
    "course": "{out}/log",
    "metrics": {"per": "PER"},
    "code": ["*.py"],
}
SPEC: dict[str, Any] = {
    "name": "foreign",
    "question": "Does half the rate lower PER?",
    "trainer": {
        **LEAST,
        "cwd": "theirs",
        "outputs": {"out.dir": "{out}"},
        "steps": "n_batches",
        "data": ["data_dir"],
        "hours": 0.5,
    },
    "factors": {
        "rate": {"high": {}, "low": {"lr": 0.005}},
        "net": {"gru": {}, "cnn": {"kind": "cnn"}},
    },
    "seeds": [0, 1, 2],
    "hypotheses": {
        "lower": {
            "claim": "Half the rate lowers PER.",
            "contrast": {"factor": "rate", "from": "high", "to": "low"},
            "where": {"net": "gru"},
            "outcome": "per",
            "direction": "decrease",
            "margin": 0.02,
        }
    },
}


def write_trainer(folder: Path, changes: dict[str, Any] | None = None) -> Path:
    """Write a trainer, its recordings and an ablation of it.

    Args:
        changes: key path with slashes → value in the ablation; `...` removes the key.

    Returns:
        The ablation's file.
    """
    theirs, data = folder / "theirs", folder / "data"
    theirs.mkdir(exist_ok=True)
    data.mkdir(exist_ok=True)
    (theirs / "args.yaml").write_text(ARGS)
    (theirs / "train.py").write_text(CODE)
    (data / "trials.bin").write_bytes(b"0123")
    document = copy.deepcopy(SPEC)
    for path, value in (changes or {}).items():
        *above, name = path.split("/")
        at = document
        for part in above:
            at = at.setdefault(part, {})
        if value is ...:
            del at[name]
        else:
            at[name] = value
    file = folder / "foreign.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False))
    return file
