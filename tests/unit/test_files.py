import os

import pytest
from onnxbench.files import replace_file


def text(content):
    return lambda scratch: scratch.write_text(content)


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "file"
    replace_file(path, text("old"))
    replace_file(path, text("new"))
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("stop"), KeyboardInterrupt("stop")])
def test_a_file_that_could_not_be_written_stays_as_it_was(tmp_path, error):
    def half(scratch):
        scratch.write_text("half")
        scratch.with_name("more").write_text("what a library writes beside it")
        raise error

    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(type(error), match="stop"):
        replace_file(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_its_mode_is_that_of_any_new_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        replace_file(tmp_path / "file", text("new"))
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_new_file_is_written_on_the_disk_where_it_will_be(tmp_path):
    places = []
    replace_file(tmp_path / "file", lambda scratch: places.append(scratch) or scratch.touch())
    assert places[0].is_relative_to(tmp_path)


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "other").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    replace_file(tmp_path / "link", text("new"))
    assert ((tmp_path / "other").read_text(), (tmp_path / "link").read_text()) == ("old", "new")
    assert not (tmp_path / "link").is_symlink()


def test_a_folder_that_cannot_be_made_is_told_with_its_reason(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file") as caught:
        replace_file(tmp_path / "file" / "inside", text("new"))
    assert caught.value.strerror
