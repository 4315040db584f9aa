"""Published weights on disk, fetched, checked and read.  No network: addresses are opened by a stand-in."""

from __future__ import annotations

import io
import pickle

import pytest
import torch
from toy_weights import publish

from amfir_lib.backbones import weights
from amfir_lib.backbones.weights import PublishedFile, find_weights, load_state
from amfir_lib.errors import BackboneUnavailable

FILE = PublishedFile("net-0676ba61.pth", "https://example.org/net-0676ba61.pth", "0676ba61")


@pytest.fixture(autouse=True)
def downloads(tmp_path, monkeypatch):
    """PyTorch's own folder of downloads, empty, on a machine without a connection."""

    def offline(url, timeout):
        raise OSError("no route to host")

    monkeypatch.setattr(weights, "download_folder", lambda: tmp_path / "downloads")
    monkeypatch.setattr(weights.urllib.request, "urlopen", offline)
    return tmp_path / "downloads"


def test_a_file_in_the_users_folder_goes_before_a_download_and_the_first_before_the_second(tmp_path, downloads):
    file = publish({"a": torch.ones(1)}, tmp_path / "own", "net")
    publish({"a": torch.ones(1)}, downloads, "net")
    assert find_weights("net", [FILE, file], weights_dir=tmp_path / "own") == tmp_path / "own" / file.name
    assert find_weights("net", [file]) == downloads / file.name


def test_offline_the_file_its_digest_and_the_folders_are_named(tmp_path, downloads):
    parts = (
        "no route to host",
        "net-0676ba61.pth",
        "SHA-256 beginning with 0676ba61",
        "--weights-dir",
        "weights=random",
    )
    with pytest.raises(BackboneUnavailable, match=f"(?s){tmp_path} or {downloads}.*" + ".*".join(parts)):
        find_weights("resnet", [FILE], weights_dir=tmp_path)


def test_a_file_is_fetched_whole_or_not_at_all(tmp_path, downloads, monkeypatch, capsys):
    file = publish({"a": torch.ones(2)}, tmp_path / "there", "net")
    content = (tmp_path / "there" / file.name).read_bytes()
    monkeypatch.setattr(weights.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(content))
    path = find_weights("net", [file])
    assert path == downloads / file.name and path.read_bytes() == content and "Fetching" in capsys.readouterr().out
    path.unlink()
    monkeypatch.setattr(weights.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(content[:-1]))
    with pytest.raises(BackboneUnavailable, match="is not the published file"):
        find_weights("net", [file])
    assert list(downloads.iterdir()) == []


def test_a_file_with_another_digest_than_its_name_says_is_refused(tmp_path):
    (tmp_path / FILE.name).write_bytes(b"something else")
    with pytest.raises(BackboneUnavailable, match=r"SHA-256 begins with \w{8}, not 0676ba61. Remove it"):
        find_weights("net", [FILE], weights_dir=tmp_path)


def test_a_file_without_a_stated_digest_is_never_fetched(tmp_path):
    file = PublishedFile("flow_imagenet.pt", "https://example.org/models")
    with pytest.raises(BackboneUnavailable, match="published without a digest.*flow_imagenet.pt"):
        find_weights("i3d", [file], weights_dir=tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_load_in_the_new_and_in_the_old_format(tmp_path, zipped):
    torch.save({"a": torch.arange(3.0)}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    assert load_state(tmp_path / "a.pt")["a"].tolist() == [0, 1, 2]


class Malicious:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of the file ran')",)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path, save):
    save({"a": torch.ones(1), "b": Malicious()}, tmp_path / "bad.pt")
    with pytest.raises(BackboneUnavailable, match=r"bad\.pt was not read, because it holds more than weights"):
        load_state(tmp_path / "bad.pt")


def test_files_that_hold_no_state_dict_are_refused(tmp_path):
    torch.save([torch.ones(1)], tmp_path / "list.pt")
    torch.save({"a": torch.ones(100)}, tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:300])
    (tmp_path / "page.pt").write_text("<html>404</html>")
    for name, message in (("list", "holds no state dict"), ("cut", "cannot be read"), ("page", "was not read")):
        with pytest.raises(BackboneUnavailable, match=rf"{name}\.pt {message}"):
            load_state(tmp_path / f"{name}.pt")
