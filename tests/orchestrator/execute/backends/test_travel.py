"""Files arrive whole or not at all, and only where they belong."""

from pathlib import Path

import pytest

from decoder.atomic import sha256_of
from decoder.config import DecoderConfig
from decoder.errors import StorageError
from decoder.owners import owner_in, this_process
from decoder.pack import Pack, Run
from orchestrator.execute.backends import travel
from orchestrator.execute.backends.travel import (
    Arrival,
    FileEntry,
    FolderSource,
    KeptFiles,
    Kind,
    Piece,
    Receiver,
    fetch,
    inside,
    pieces_of,
)

PACK = Pack("pack1", 0, (Run("run1", DecoderConfig()), Run("run2", DecoderConfig())))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(travel, "PIECE_BYTES", 10)


@pytest.fixture
def receiver(tmp_path: Path) -> Receiver:
    """Writes into ``checkpoints`` and ``runs``."""
    folders: dict[Kind, Path | None] = {
        "checkpoints": tmp_path / "checkpoints",
        "weights": tmp_path / "runs",
    }
    for folder in folders.values():
        assert folder is not None
        folder.mkdir()
    return Receiver(folders, [PACK])


def names_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("n_bytes", [0, 1, 10, 11, 35])
def test_a_file_arrives_in_pieces_of_bounded_size(
    receiver: Receiver, tmp_path: Path, n_bytes: int
) -> None:
    content = bytes(range(n_bytes))
    (tmp_path / "file").write_bytes(content)
    pieces = list(pieces_of("weights", tmp_path / "file", "run2/weights.safetensors"))
    assert len(pieces) == max(1, -(-n_bytes // 10))
    assert max(len(piece.content) for piece in pieces) <= 10
    for piece in pieces[:-1]:
        receiver.take("pack1", piece)
        assert not (tmp_path / "runs" / "run2" / "weights.safetensors").exists()
    receiver.take("pack1", pieces[-1])
    assert names_in(tmp_path / "runs") == ["run2/weights.safetensors"]
    assert (tmp_path / "runs" / "run2" / "weights.safetensors").read_bytes() == content


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("checkpoints", "pack2/step-1.json"),
        ("checkpoints", "pack1"),
        ("checkpoints", "pack1/../pack2/step-1.json"),
        ("checkpoints", "pack1/../../escaped"),
        ("checkpoints", "/etc/hosts"),
        ("checkpoints", "pack1/.hidden"),
        ("weights", "run1/record.json"),
        ("weights", "run3/weights.safetensors"),
        ("weights", "../runs/run1/weights.safetensors"),
        ("weights", "weights.safetensors"),
    ],
)
def test_a_name_that_is_not_the_packs_own_is_refused(
    receiver: Receiver, tmp_path: Path, kind: Kind, name: str
) -> None:
    before = names_in(tmp_path)
    with pytest.raises(StorageError):
        receiver.take("pack1", Piece(kind, name, 0, b"x", sha256_of(b"x")))
    assert names_in(tmp_path) == before


def test_a_link_that_leads_outside_is_refused(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkpoints" / "pack1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        receiver.take("pack1", Piece("checkpoints", "pack1/step-1.json", 0, b"x", sha256_of(b"x")))
    assert not names_in(tmp_path / "elsewhere")


def test_a_damaged_file_does_not_replace_the_one_before(receiver: Receiver, tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "pack1" / "split.json"
    receiver.take("pack1", Piece("checkpoints", "pack1/split.json", 0, b"old", sha256_of(b"old")))
    with pytest.raises(StorageError):
        receiver.take(
            "pack1", Piece("checkpoints", "pack1/split.json", 0, b"nev", sha256_of(b"new"))
        )
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path / "checkpoints") == ["pack1/split.json"]


def test_what_a_lost_node_sent_in_part_is_forgotten_when_another_begins(
    receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(bytes(25))
    first, *_ = pieces_of("checkpoints", tmp_path / "file", "pack1/step-1.safetensors")
    receiver.take("pack1", first)
    for piece in pieces_of("checkpoints", tmp_path / "file", "pack1/step-1.safetensors"):
        receiver.take("pack1", piece)
    assert names_in(tmp_path / "checkpoints") == ["pack1/step-1.safetensors"]
    receiver.take("pack1", first)
    receiver.forget("pack1")
    assert names_in(tmp_path / "checkpoints") == ["pack1/step-1.safetensors"]


def test_pieces_out_of_order_are_refused(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(25))
    _, second, _ = pieces_of("checkpoints", tmp_path / "file", "pack1/step-1.safetensors")
    with pytest.raises(StorageError):
        receiver.take("pack1", second)


def test_only_the_checkpoints_of_the_pack_that_the_node_still_has_remain(
    receiver: Receiver, tmp_path: Path
) -> None:
    for name in ("pack1/step-1.json", "pack1/part-0/step-2.json", "pack2/step-1.json"):
        path = tmp_path / "checkpoints" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    receiver.take("pack1", KeptFiles(frozenset({"pack1/part-0/step-2.json"})))
    assert names_in(tmp_path / "checkpoints") == ["pack1/part-0/step-2.json", "pack2/step-1.json"]
    receiver.take("pack1", KeptFiles(frozenset()))
    assert names_in(tmp_path / "checkpoints") == ["pack2/step-1.json"]


def test_a_node_reads_nothing_but_the_folders_of_the_call(tmp_path: Path) -> None:
    dataset, checkpoints = tmp_path / "datasets" / "store", tmp_path / "checkpoints"
    for folder in (dataset, checkpoints / "pack1"):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"content")
    (tmp_path / "secret").write_bytes(b"of the driver")
    (dataset / ".note").touch()
    (checkpoints / "link").symlink_to(tmp_path / "secret")
    source = FolderSource(dataset, checkpoints, {"my start": checkpoints / "pack1" / "file"})
    [entry] = source.dataset()
    assert entry == FileEntry("file", 7, sha256_of(b"content"))
    assert list(source.pieces("dataset", entry)) == [b"content"]
    assert [entry.name for entry in source.checkpoint("pack1")] == ["pack1/file"]
    assert source.checkpoint("pack2") == ()
    for name in ("../../secret", str(tmp_path / "secret"), "link"):
        with pytest.raises(StorageError):
            source.piece("checkpoints", name, 0)
    [start] = source.start("my start")
    assert list(source.pieces("starts", start)) == [b"content"]
    for name in ("secret", f"{start.name}/../../secret", str(tmp_path / "secret")):
        with pytest.raises(StorageError):
            source.piece("starts", name, 0)
    assert source.start(str(tmp_path / "secret")) == ()


def test_a_file_that_arrives_damaged_at_a_node_is_not_kept(tmp_path: Path) -> None:
    entry = FileEntry("file", 3, sha256_of(b"abc"))
    with pytest.raises(StorageError, match="file"):
        list(fetch(iter([b"ab", b"d"]), entry, tmp_path / "file"))
    assert names_in(tmp_path) == []
    assert list(fetch(iter([b"ab", b"c"]), entry, tmp_path / "file")) == [2, 1]
    assert names_in(tmp_path) == ["file"]


def test_what_has_arrived_in_part_names_its_owner_so_that_it_is_cleared_after_a_kill(
    tmp_path: Path,
) -> None:
    arrival = Arrival(tmp_path / "weights.safetensors")
    arrival.add(b"half")
    (name,) = names_in(tmp_path)
    assert owner_in(name) == this_process()
    arrival.drop()
    assert names_in(tmp_path) == []


def test_a_full_disk_is_told_with_path_and_bytes(tmp_path: Path) -> None:
    arrival = Arrival(tmp_path / "file", 123)
    arrival._file.close()
    arrival._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    with pytest.raises(StorageError, match=r"file: no room .* 123 bytes"):
        arrival.add(b"x")
    assert names_in(tmp_path) == []


def test_no_name_leaves_a_folder(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/b.json") == tmp_path / "a" / "b.json"
    for name in ("", ".", "..", "a/../../b", "/a", ".a", "a//..", "a\nb", "a\0b"):
        with pytest.raises(StorageError):
            inside(tmp_path, name)
