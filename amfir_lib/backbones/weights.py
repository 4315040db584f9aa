"""Published weights: found on disk, fetched where that is possible, checked, and read without running code."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from amfir_lib.errors import BackboneUnavailable, unknown_name
from amfir_lib.storage import atomic_write

TIMEOUT_S = 20  # without an answer for so long, the machine counts as offline
KINDS = ("pretrained", "random")


class PublishedFile(NamedTuple):
    """A weights file as its authors publish it, fetched only if they state a digest."""

    name: str
    url: str
    sha256: str = ""  # its first digits

    def __str__(self) -> str:
        checksum = f", SHA-256 beginning with {self.sha256}" if self.sha256 else ""
        return f"{self.name}{checksum} ({self.url})"


def download_folder() -> Path:
    """Where PyTorch itself keeps the weights that it downloads; nothing is fetched twice."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def find_weights(
    backbone: str, files: Sequence[PublishedFile], *, weights: str = "pretrained", weights_dir: Path | str | None = None
) -> Path | None:
    """The first of some files that is in ``weights_dir`` or among PyTorch's downloads; else the first is fetched.
    None for ``weights="random"``.

    Raises:
        BackboneUnavailable: none is there and the first cannot be fetched, or a file has another digest; says which
            file is expected, where, and with which digest. UnknownName: no such kind of weights.
    """
    if weights not in KINDS:
        raise unknown_name("kind of weights", weights, KINDS)
    if weights == "random":
        return None
    folders = [*filter(None, [weights_dir and Path(weights_dir)]), download_folder()]
    for file in files:
        for folder in folders:
            if (folder / file.name).is_file():
                return _checked(folder / file.name, file)
    file, reason = files[0], "it is published without a digest, so it is not fetched by itself"
    if file.sha256:
        path = folders[0] / file.name
        print(f"Fetching {file.url} to {path.parent}.")
        try:
            with atomic_write(path) as temporary:
                with urllib.request.urlopen(file.url, timeout=TIMEOUT_S) as answer, open(temporary, "wb") as handle:
                    shutil.copyfileobj(answer, handle)
                _checked(temporary, file)
            return path
        except BackboneUnavailable:
            raise
        except Exception as error:  # no name server, a proxy, a time-out, a full disk: each library has its own
            reason = f"it cannot be fetched here ({type(error).__name__}: {error})"
    raise BackboneUnavailable(
        f"the weights of {backbone} are not in {' or '.join(map(str, folders))}, and {reason}: put {file} there or "
        "into the folder that --weights-dir names, or ask for untrained ones with -p weights=random."
    )


def _checked(path: Path, file: PublishedFile) -> Path:
    with open(path, "rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    if not digest.startswith(file.sha256):
        raise BackboneUnavailable(
            f"{path} is not the published file: its SHA-256 begins with {digest[:8]}, not {file.sha256}. Remove it, "
            f"and fetch it again from {file.url}."
        )
    return path


def load_state(path: Path | str) -> dict[str, Tensor]:
    """Read a state dict of finite tensors to the CPU; anything else, and a pickle that holds code, is refused with a
    BackboneUnavailable, and not run."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BackboneUnavailable(
            f"{path} was not read, because it holds more than weights or is no weights file at all: loading it could "
            "run code. Use the published state dict."
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise BackboneUnavailable(f"{path} cannot be read as weights ({error}). Copy the file again.") from error
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise BackboneUnavailable(f"{path} holds no state dict (names with tensors). Use the published state dict.")
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise BackboneUnavailable(f'{path} holds NaN or infinity in "{name}". Copy the file again.')
    return dict(state)
