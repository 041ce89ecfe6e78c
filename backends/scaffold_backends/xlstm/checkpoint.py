"""Finds and reads a checkpoint: weights as safetensors, with a JSON config of the same name beside them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from scaffold.errors import ModelFileError, TaskError, nearest
from scaffold_backends.xlstm.specs import Config

if TYPE_CHECKING:
    from scaffold_backends.xlstm.model import XLSTM

_SHIPPED = Path(__file__).parent / "checkpoints"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was found and whose config was read; its weights are read by `load`.

    Attributes:
        name: of the file, without its ending.
        path: of the weights.
        config: the config beside them.
    """

    name: str
    path: Path
    config: Config

    def load(self) -> XLSTM:
        """Read the weights and make the model.

        Raises:
            ModelFileError: the file is not what the config says: another hash, other names or shapes, or figures that
                are not numbers.
        """
        import numpy as np
        from safetensors import SafetensorError
        from safetensors.numpy import load

        from scaffold_backends.xlstm.model import XLSTM

        stored = _bytes(self.path)
        digest = hashlib.sha256(stored).hexdigest()
        if self.config.sha256 not in {None, digest}:
            raise ModelFileError(
                f"{str(self.path)!r} is not the file that its config describes: its SHA-256 is {digest}, not "
                f"{self.config.sha256}; get both files again, from the same place"
            )
        try:
            weights = load(stored)
        except SafetensorError as error:
            raise ModelFileError(f"{str(self.path)!r} is not a safetensors file, or is cut short: {error}") from error
        except KeyError as error:  # numpy has no such type
            raise ModelFileError(
                f"{str(self.path)!r} has weights of the type {error}, which numpy cannot read; save them as float32"
            ) from error
        expected = self.config.shapes()
        for name, shape in expected.items():
            if name not in weights:
                raise self._wrong(f"has no weight {name!r}{nearest(name, weights)}")
            if weights[name].shape != shape:
                raise self._wrong(f"has {name!r} with the shape {weights[name].shape}, but {shape} is needed")
            if not np.issubdtype(weights[name].dtype, np.floating):
                raise self._wrong(f"has {name!r} as {weights[name].dtype}, but a floating-point type is needed")
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
                weights[name] = weights[name].astype(np.float32)
            bad = int(np.count_nonzero(~np.isfinite(weights[name])))
            if bad:
                raise self._wrong(
                    f"has {bad} entries of {name!r} (of {weights[name].size}) that are NaN, infinite or beyond float32"
                )
        if strangers := sorted(weights.keys() - expected.keys()):
            raise self._wrong(f"has the weight {strangers[0]!r}, which no block of the config uses")
        return XLSTM(self.config, {name: weights[name] for name in expected}, digest)

    def _wrong(self, what: str) -> ModelFileError:
        return ModelFileError(
            f"{str(self.path)!r} {what}; the config beside it is for another model, or the file is damaged"
        )


def shipped() -> list[str]:
    """Name the checkpoints that come with the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.safetensors"))


def find(said: str) -> Checkpoint:
    """Find a checkpoint and read its config.

    Args:
        said: the name of a shipped one; else the path of a safetensors file, or of a folder with just one.

    Raises:
        TaskError: there is none of that name, and no such file.
        ModelFileError: its config cannot be read, or describes no model that we know.
    """
    path = _SHIPPED / f"{said}.safetensors" if said in shipped() else _own(said)
    return Checkpoint(path.stem, path, _config(path.with_suffix(".json")))


def _own(said: str) -> Path:
    path = Path(said).expanduser()
    if path.is_dir():
        inside = sorted(path.glob("*.safetensors"))
        if len(inside) != 1:
            raise TaskError(
                f"the folder {said!r} has {len(inside)} files *.safetensors; name one of them, or keep only one"
            )
        return inside[0]
    if path.is_file():
        return path
    names = shipped()
    raise TaskError(
        f"there is no xLSTM {said!r}: it is neither shipped ({', '.join(names)}), nor a file or a folder"
        f"{nearest(said, names)}"
    )


def _config(path: Path) -> Config:
    try:
        said = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"the config {str(path)!r} is not JSON: {error}") from error
    try:
        return Config.model_validate(said)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    raise ModelFileError(f"the config {str(path)!r} cannot be used: {place + ': ' if place else ''}{fault['msg']}")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read {str(path)!r}, which a checkpoint needs: {error.strerror}") from error
