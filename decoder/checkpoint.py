"""Checkpoints of a pack: tensors in safetensors, other values in JSON, with checksums.

A checkpoint is two files, ``step-N.safetensors`` and ``step-N.json``. The JSON is written last and
holds the hash of the tensors and of itself, so a checkpoint exists only if its JSON does. The two
newest are kept: if the newest is damaged, the one before it is used.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from decoder.atomic import sha256_of, write_atomically
from decoder.errors import CheckpointError
from decoder.regular import open_regular, read_json

FORMAT = 3
N_KEPT = 2


class Checkpoint(NamedTuple):
    """The content of a checkpoint: tensors by name, and plain JSON values.

    Tensors that were read lie in the file and take memory only where they are used.
    """

    tensors: Mapping[str, Tensor]
    values: dict[str, Any]


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint) -> None:
    """Write a checkpoint and delete all but the newest two.

    Raises:
        StorageError: it cannot be written; names path and bytes.
    """
    content = save({name: t.contiguous() for name, t in checkpoint.tensors.items()})
    tensor_path = folder / f"step-{step:09d}.safetensors"
    write_atomically(tensor_path, content)
    body = json.dumps(
        {"format": FORMAT, "tensors_sha256": sha256_of(content), "values": checkpoint.values}
    )
    document = json.dumps({"sha256": sha256_of(body.encode()), "body": body})
    write_atomically(tensor_path.with_suffix(".json"), document.encode())
    for old in sorted(folder.glob("step-*.json"))[:-N_KEPT]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def load_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Read the newest intact checkpoint of a folder.

    Returns:
        The checkpoint, or None if there is none; and a remark for every newer checkpoint that is
        damaged or of another format.
    """
    remarks: list[str] = []
    for path in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            return _read(path), remarks
        except CheckpointError as error:
            remarks.append(f"{error}; it is skipped")
    return None, remarks


def _read(path: Path) -> Checkpoint:
    try:
        document = read_json(path)
        body_text = document["body"]
        if sha256_of(body_text.encode()) != document["sha256"]:
            raise CheckpointError(f"{path}: its checksum does not match its content")
        body = json.loads(body_text)
        if body["format"] != FORMAT:
            raise CheckpointError(f"{path}: is of format {body['format']!r}, but must be {FORMAT}")
        tensor_path = path.with_suffix(".safetensors")
        with os.fdopen(open_regular(tensor_path), "rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from None
    if found != body["tensors_sha256"]:
        raise CheckpointError(f"{tensor_path}: its checksum does not match the one recorded")
    with safe_open(tensor_path, framework="pt") as file:
        names = file.keys()
        return Checkpoint({name: file.get_tensor(name) for name in names}, body["values"])
