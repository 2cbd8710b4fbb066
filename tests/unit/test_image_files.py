import pytest
from onnxbench.errors import BadInput
from onnxbench.models.image_files import check_source, find


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def listed(source):
    found = find(source)
    return [(str(path.relative_to(source)), label) for path, label in zip(found.paths, found.labels)]


def test_labels_follow_the_sorted_folders(tmp_path):
    touch(tmp_path, "dog/b.jpg", "cat/a.PNG", "dog/deep/c.webp", "dog/notes.txt", ".hidden/d.jpg")
    assert listed(tmp_path) == [("cat/a.PNG", 0), ("dog/b.jpg", 1), ("dog/deep/c.webp", 1)]


def test_an_empty_class_keeps_its_place(tmp_path):
    touch(tmp_path, "a/notes.txt", "b/x.jpg")
    assert listed(tmp_path) == [("b/x.jpg", 1)]


def test_folders_of_numbers_are_labels(tmp_path):
    touch(tmp_path, "2/a.jpg", "10/b.jpg", "0/c.jpg")
    assert sorted(label for _, label in listed(tmp_path)) == [0, 2, 10]


def test_a_file_of_classes_gives_their_order(tmp_path):
    touch(tmp_path, "cat/a.jpg", "dog/b.jpg")
    (tmp_path / "classes.txt").write_text("bird\ndog\ncat\n\n")
    assert listed(tmp_path) == [("cat/a.jpg", 2), ("dog/b.jpg", 1)]


def test_a_folder_that_the_file_of_classes_lacks_is_named(tmp_path):
    touch(tmp_path, "cats/a.jpg")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(BadInput, match=r"has the class 'cats', and classes.txt does not; did you mean 'cat'"):
        find(tmp_path)


def test_a_csv_file_has_paths_and_labels(tmp_path):
    touch(tmp_path, "one.jpg", "in/two.jpg")
    (tmp_path / "list.csv").write_text('path,label\none.jpg,7\n"in/two.jpg", 3\n\n')
    found = find(tmp_path / "list.csv")
    assert found.paths == (tmp_path / "one.jpg", tmp_path / "in/two.jpg")
    assert (found.labels, found.names) == ((7, 3), {7: "7", 3: "3"})


def test_names_in_a_csv_file_are_sorted(tmp_path):
    (tmp_path / "list.CSV").write_text("a.jpg,dog\nb.jpg,cat\n")
    assert find(tmp_path / "list.CSV").labels == (1, 0)


@pytest.mark.parametrize("line", ["a.jpg", "a.jpg,", ",cat", "a.jpg,cat,dog", "a\0.jpg,cat"])
def test_a_wrong_line_is_named(tmp_path, line):
    (tmp_path / "list.csv").write_text(f"b.jpg,cat\n{line}\n")
    with pytest.raises(BadInput, match=r"line 2 of .* is not path,label"):
        find(tmp_path / "list.csv")


@pytest.mark.parametrize("content", [b"", b"path,label\n", b"\xff\xfe,1\n"])
def test_a_csv_file_without_images_is_refused(tmp_path, content):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(BadInput, match=r"lists no image|cannot read"):
        find(tmp_path / "list.csv")


def test_a_folder_without_folders_is_refused(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(BadInput, match=r"has 2 images and no sub-folder, .*images:FILE\.csv"):
        find(tmp_path)


def test_a_folder_of_parts_names_one_of_them(tmp_path):
    touch(tmp_path, "train/cat/a.jpg", "val/cat/b.jpg")
    with pytest.raises(BadInput, match=r"parts of a dataset and not classes; .*images:.*/val"):
        find(tmp_path)


def test_folders_without_images_are_refused(tmp_path):
    touch(tmp_path, "a/notes.txt")
    with pytest.raises(BadInput, match=r"has 1 folder and no image in them; use files that end in \.bmp"):
        find(tmp_path)


def test_links_are_not_followed_and_the_error_says_so(tmp_path):
    touch(tmp_path, "elsewhere.jpg", "elsewhere/b.jpg")
    (tmp_path / "set/a").mkdir(parents=True)
    (tmp_path / "set/a/link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (tmp_path / "set/b").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="links, which are not followed"):
        find(tmp_path / "set")


def test_a_missing_folder_and_another_file_are_refused(tmp_path):
    touch(tmp_path, "a.zip")
    for name, says in (("none", "there is no folder"), ("a.zip", "neither a folder nor a .csv file")):
        with pytest.raises(BadInput, match=says):
            check_source(tmp_path / name)


def test_the_fingerprint_changes_with_a_file(tmp_path):
    touch(tmp_path, "a/x.jpg")
    before = find(tmp_path).fingerprint()
    assert find(tmp_path).fingerprint() == before
    (tmp_path / "a/x.jpg").write_bytes(b"longer")
    assert find(tmp_path).fingerprint() != before


def test_without_labels_all_images_of_a_folder_are_found(tmp_path):
    touch(tmp_path, "b.jpg", "a/c.png", "train/d.bmp", "notes.txt")
    found = find(tmp_path, labelled=False)
    assert [str(path.relative_to(tmp_path)) for path in found.paths] == ["b.jpg", "a/c.png", "train/d.bmp"]
    assert set(found.labels) == {0}


def test_without_labels_a_folder_without_images_is_refused(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(BadInput, match="has no image; use files that end in"):
        find(tmp_path, labelled=False)
