import shutil

from fourierkd.fingerprint import changed_since, data_fingerprint, digest, file_sha256


def test_digest_ignores_the_order_of_keys_only():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"b": [2, 1]}) != digest({"b": [1, 2]})


def test_file_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert file_sha256(tmp_path / "f").startswith("ba7816bf8f01cfea")


def test_what_became_of_a_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    known = file_sha256(path)
    assert changed_since(path, known) is None
    assert changed_since(path, None) is None  # its bytes were not kept, it only has to be there
    path.write_bytes(b"abd")
    assert changed_since(path, known) == f"has {file_sha256(path)[:16]} now"
    path.unlink()
    assert changed_since(path, known) == changed_since(path, None) == "is gone"


def test_data_are_their_files_wherever_they_lie(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "img").mkdir(parents=True)
    (first / "img/a.png").write_bytes(b"1234")
    (first / "train.json").write_text('{"name": "cat"}')
    shutil.copytree(first, second)
    known = data_fingerprint(first)
    assert data_fingerprint(second) == known
    (second / ".cache").mkdir()
    (second / ".cache/x").write_text("x")
    (second / "gone").symlink_to("nowhere")
    assert data_fingerprint(second) == known
    (second / "train.json").write_text('{"name": "dog"}')  # as long as before
    assert data_fingerprint(second) != known
    shutil.copy(first / "train.json", second)
    for name, content in (("img/b.png", b""), ("img/a.png", b"12345")):
        kept = (second / name).read_bytes() if (second / name).exists() else None
        (second / name).write_bytes(content)
        assert data_fingerprint(second) != known
        (second / name).unlink() if kept is None else (second / name).write_bytes(kept)
    assert data_fingerprint(second) == known
    assert data_fingerprint(tmp_path / "nowhere") == digest([])
