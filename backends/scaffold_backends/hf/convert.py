"""Converts a GGUF file to a model folder once, since transformers takes over a minute to read a GGUF file each time.

python -m scaffold_backends.hf.convert MODEL.gguf FOLDER
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scaffold.errors import BadInput, ModelFileError
from scaffold_backends.hf import loading

if TYPE_CHECKING:
    from collections.abc import Callable


def convert(file: Path, folder: Path, say: Callable[[str, float], None]) -> None:
    """Write a model's weights (float32), tokenizer and chat template into a new folder, for `hf:FOLDER`.

    Args:
        file: in GGUF format.
        folder: absent, or empty.
        say: called with a progress message and the part done, from 0 to 1.

    Raises:
        MissingExtra: torch, transformers, gguf or accelerate is not installed.
        ModelFileError: the file cannot be read, or the folder is not empty.
    """
    loading.installed()
    if folder.exists() and any(folder.iterdir()):
        raise ModelFileError(f"{str(folder)!r} is not empty: name a folder that does not exist yet")
    place = loading.place_of(str(file))
    model = loading.load(place, dtype="float32", device="cpu", say=lambda message, part: say(message, part * 0.9))
    network = model.network
    # The weights are dequantised now, but transformers would still consider them quantised and refuse to save them.
    network.hf_quantizer = None
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    with loading.quietly():
        network.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
    say(f"use it as 'hf:{folder}'", 1.0)


def main() -> int:
    """Convert what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m scaffold_backends.hf.convert", description="GGUF file to folder")
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path)
    said = parser.parse_args()
    try:
        convert(said.file, said.folder, lambda message, _part: print(message, file=sys.stderr))  # noqa: T201 - a command
    except BadInput as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
