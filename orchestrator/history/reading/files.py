"""Single files of a run folder: what each is by its name and first bytes, and its text, bounded."""

import codecs
import hashlib
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from decoder.plain_pickle import looks_like_pickle

Role = Literal["settings", "course", "evaluation", "refused", "not read", "unreadable"]
Kind = Literal["yaml", "json", "toml", "pickle", "jsonl", "csv", "log", "other"]

MOST_SETTINGS_BYTES = 4 << 20
MOST_COURSE_BYTES = 64 << 20
_MOST_LINE = 1 << 20
_BLOCK = 1 << 20

_NEVER_OPENED = {
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".onnx"), "weights, never opened"),
    **dict.fromkeys((".safetensors", ".h5", ".hdf5", ".mat", ".npy", ".npz"), "arrays, not read"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".svg", ".pdf", ".gif"), "a picture, not read"),
    **dict.fromkeys((".py", ".ipynb", ".sh", ".slurm", ".sbatch", ".patch", ".diff"), "code"),
    **dict.fromkeys((".md", ".rst", ".html", ".docx"), "notes for people, not read"),
    **dict.fromkeys((".wandb", ".db", ".sqlite", ".parquet"), "a database, not read"),
    **dict.fromkeys((".zip", ".gz", ".tar", ".tgz", ".xz", ".zst", ".7z"), "packed, not read"),
}
_NOT_SETTINGS = re.compile(
    r"train_val_trials|wandb-(metadata|summary)|^(hydra|overrides|conda|environment|requirements)"
    r"\.|^package(-lock)?\.|^tsconfig|^vocab|^phon|^dataset_info|^\."
)
_SETTINGS_NAME = re.compile(
    r"config|args|hparam|hyper|param|setting|^cfg|_cfg|^conf\b|options|^opts|einstell|konfig",
    re.IGNORECASE,
)
_EVALUATION_NAME = re.compile(
    r"^(eval|evaluation|test|val|final|best)[\w.-]*$|results?$|scores?$", re.IGNORECASE
)
_COURSE_NAME = re.compile(r"histor|metrics|stats|trainer_state|curve|log|losses", re.IGNORECASE)
_LOG_NAME = re.compile(
    r"log|stdout|stderr|output|console|train|slurm|nohup|ausgabe|protokoll", re.IGNORECASE
)
_WEIGHTS_NAME = re.compile(r"^(best|final)?_?checkpoint(_batch_\d+)?$|^modelweights", re.IGNORECASE)


@dataclass(frozen=True)
class FileNote:
    """One file that was found, and what became of it.

    Attributes:
        path: relative to the folder that was imported.
        role: what it was taken for.
        n_bytes: its size; digest: SHA-256 of what was read of it, "" for what was not read.
        note: why it was not read, or how.
    """

    path: str
    role: Role
    n_bytes: int
    digest: str = ""
    note: str = ""


def kind_of(path: Path) -> tuple[Kind, str]:
    """What a file is by its name, and for ``other`` the reason why it is not read."""
    name, suffix = path.name.lower(), path.suffix.lower()
    if ".tfevents." in name:
        return "other", "TensorBoard events, not read; export them as CSV"
    if suffix in _NEVER_OPENED:
        return "other", _NEVER_OPENED[suffix]
    if _WEIGHTS_NAME.match(name):
        return "other", "weights, never opened"
    if name in ("args", "args.pkl", "args.pickle"):
        return "pickle", ""
    if suffix in (".pkl", ".pickle") or name == "trainingstats":
        return "other", "a pickle, refused: to open it could run any code"
    if suffix in (".yaml", ".yml", ".json"):
        if _NOT_SETTINGS.search(name):
            return "other", "neither settings nor a course"
        return ("json" if suffix == ".json" else "yaml"), ""
    if suffix == ".toml":
        return "toml", ""
    if suffix in (".jsonl", ".ndjson"):
        return "jsonl", ""
    if suffix in (".csv", ".tsv"):
        return "csv", ""
    if suffix in (".log", ".out", ".err") or (suffix in ("", ".txt") or suffix[1:].isdigit()):
        likely = suffix in (".log", ".out", ".err") or _LOG_NAME.search(name)
        return ("log", "") if likely else ("other", "no name of settings or a course")
    return "other", f"files ending in {suffix} are not read"


def settings_by_name(path: Path) -> bool:
    """Whether a YAML, JSON or TOML file is called what settings are called."""
    return _SETTINGS_NAME.search(path.stem) is not None


def course_by_name(path: Path) -> bool:
    """Whether a JSON file is called what a course of evaluations is called."""
    return _COURSE_NAME.search(path.stem) is not None


def evaluation_by_name(path: Path) -> bool:
    """Whether a JSON file is called what a final evaluation is called."""
    return _EVALUATION_NAME.search(path.stem) is not None


def regular_file(path: Path) -> tuple[int, float] | None:
    """Size and time of last change of a regular file, links followed; None for anything else."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return (found.st_size, found.st_mtime) if stat.S_ISREG(found.st_mode) else None


def shown(text: str) -> str:
    """A name as it can be told: what no terminal or file can hold is replaced."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def decode(content: bytes) -> str:
    """Text in UTF-8, UTF-16 with its mark, or Latin-1, the mark removed."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


@dataclass
class TextFile:
    """A course file that is read line by line, and what was seen on the way.

    Attributes:
        path: where it lies; n_bytes: its size.
        skipped_bytes: what a file beyond the limit loses, between its first line and its end.
        cut_off: whether the last line has no end.
        digest: of what was read, once `lines` came to its end.
        pickled: whether it is no text but a pickle or an archive.
    """

    path: Path
    n_bytes: int
    skipped_bytes: int = 0
    cut_off: bool = False
    digest: str = ""
    pickled: bool = False

    def lines(self) -> Iterator[str]:
        """Its lines without their ends; carriage returns of progress bars end lines too."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            head = file.read(_BLOCK)
            if looks_like_pickle(head) or head.startswith(b"PK\x03\x04"):
                self.pickled = True
                return
            digest.update(head)
            encoding = _encoding(head)
            decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
            rest, block = "", head
            if self.n_bytes > MOST_COURSE_BYTES:
                first, _, _ = head.partition(b"\n")
                yield decoder.decode(first).rstrip("\r")
                decoder.reset()
                self.skipped_bytes = self.n_bytes - MOST_COURSE_BYTES
                file.seek(self.skipped_bytes)
                file.readline(_MOST_LINE)
                block = file.read(_BLOCK)
                digest.update(block)
            while block:
                *whole, rest = (rest + decoder.decode(block)).replace("\r", "\n").split("\n")
                yield from whole
                rest = rest[-_MOST_LINE:]
                block = file.read(_BLOCK)
                digest.update(block)
        self.digest = digest.hexdigest()
        if rest:
            self.cut_off = True
            yield rest


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"
