"""Recognising the layout of a folder, and the errors for folders in neither layout."""

import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from decoder.data.layouts import find_layout, session_names, source_files
from decoder.data.prepare import prepare
from decoder.errors import DataError


def complaint(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        find_layout(path)
    (found,) = caught.value.problems
    assert found.startswith(f"{path}: ")
    return found


def test_layout_is_recognised_by_the_content_of_the_folder(
    tiny_folder: Path, tiny_t12_folder: Path
) -> None:
    assert find_layout(tiny_folder).name == "T15"
    assert find_layout(tiny_t12_folder).name == "T12"


def test_sessions_and_files_come_in_day_order(tiny_t12_folder: Path) -> None:
    layout = find_layout(tiny_t12_folder)
    assert session_names(tiny_t12_folder, layout) == ("t12.2000.01.01", "t12.2000.01.08")
    files = source_files(tiny_t12_folder, layout, ("t12.2000.01.08", "t12.2000.01.01"))
    assert [path.relative_to(tiny_t12_folder).as_posix() for path in files] == [
        "train/t12.2000.01.08.mat",
        "test/t12.2000.01.08.mat",
        "train/t12.2000.01.01.mat",
        "test/t12.2000.01.01.mat",
    ]


def test_unknown_t12_session_suggests_the_nearest(tiny_t12_folder: Path) -> None:
    with pytest.raises(DataError, match=r"no session 't12\.2000\.01\.02'; did you mean 't12"):
        session_names(tiny_t12_folder, find_layout(tiny_t12_folder), ("t12.2000.01.02",))


def test_missing_folder_and_empty_folder_name_both_layouts(tmp_path: Path) -> None:
    for path, what in ((tmp_path / "nowhere", "no such folder"), (tmp_path, "holds no session")):
        found = complaint(path)
        assert what in found
        assert "t15.YYYY.MM.DD/data_train.hdf5" in found
        assert "train/t12.YYYY.MM.DD.mat" in found
        assert "synthetic:NAME" in found


@pytest.mark.parametrize("path", ["x" * 5000, "~no_such_user/t15", "a\0b"])
def test_a_path_that_no_folder_can_have_is_refused_with_its_start(
    path: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        prepare(path, None, None, tmp_path)
    assert caught.value.problems[0].startswith(path[:1])


def test_both_layouts_in_one_folder_are_refused(folder: Path, tiny_t12_folder: Path) -> None:
    shutil.copytree(tiny_t12_folder / "train", folder / "train")
    assert "in the T15 layout and in the T12 layout" in complaint(folder)


def test_a_folder_one_level_too_deep_names_its_parent(folder: Path, tiny_t12_folder: Path) -> None:
    inside_t12 = complaint(tiny_t12_folder / "train")
    assert "parent folder" in inside_t12 and "train/ and test/" in inside_t12
    inside_t15 = complaint(folder / "t15.2023.08.11")
    assert "parent folder" in inside_t15 and "data.sessions" in inside_t15


def test_a_single_file_of_recordings_is_refused(tiny_t12_folder: Path) -> None:
    found = complaint(tiny_t12_folder / "train" / "t12.2000.01.01.mat")
    assert "is a file, but data.path must name a folder" in found


class Trap:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return pytest.fail, ("a pickle was opened",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_is_refused_unopened_and_the_error_names_the_mat_files(
    protocol: int, tmp_path: Path
) -> None:
    path = tmp_path / "ptDecoder_ctc"
    path.write_bytes(pickle.dumps({"train": [Trap()], "test": []}, protocol))
    for found in (complaint(path), complaint(tmp_path)):
        assert "pickle" in found and "never opened" in found
        assert "doi:10.5061/dryad.x69p8czpq" in found and "competitionData" in found
        assert "the folder that holds train/ and test/" in found
    with pytest.raises(DataError, match="is a pickle"):
        prepare(str(path), None, None, tmp_path / "datasets")


def test_torch_file_is_refused_as_a_pickle(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
    assert "is a pickle" in complaint(tmp_path / "data.pt")


def test_other_files_are_not_taken_for_pickles(tmp_path: Path) -> None:
    for name, content in (("a.zip", b"PK\x03\x04other"), ("a.txt", b"text"), ("a", b"")):
        (tmp_path / name).write_bytes(content)
        assert "is a file, but" in complaint(tmp_path / name)


def test_a_folder_whose_recordings_lie_deeper_points_to_them(
    tiny_folder: Path, tmp_path: Path
) -> None:
    for inside in ("data", "release/data"):
        outer = tmp_path / inside.replace("/", "_")
        shutil.copytree(tiny_folder, outer / inside)
        with pytest.raises(DataError) as caught:
            find_layout(outer)
        assert str(outer / inside) in str(caught.value) and "T15" in str(caught.value)
        assert find_layout(outer / inside).name == "T15"
