"""Loads a model and its tokenizer from local files; nothing is fetched, and no code that comes with a model runs."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scaffold.errors import MissingExtra, ModelFileError
from scaffold_backends.gguf import check_gguf
from scaffold_backends.hf.families import Family, family_of
from scaffold_backends.store import SMOLLM2, LocalModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Say = Callable[[str, float], None]

Dtype = Literal["auto", "float32", "float16", "bfloat16"]

_NEEDED = ("torch", "transformers", "gguf", "accelerate")  # the last two read GGUF files
_NO_LIMIT = 10**9  # tokenizers without a maximum length give a number far beyond this


@dataclass(frozen=True)
class Place:
    """The location of a model.

    Attributes:
        folder: the folder with `config.json`, weights and tokenizer, or with the GGUF file.
        gguf: the GGUF file's name; empty if there is none.
        source: the known source from which the file can be downloaded, if any.
    """

    folder: Path
    gguf: str = ""
    source: LocalModel | None = None

    @property
    def name(self) -> str:
        """The model's name."""
        return Path(self.gguf).stem if self.gguf else self.folder.resolve().name


@dataclass(frozen=True)
class Model:
    """A loaded model, with what decoding needs to know about it.

    Attributes:
        name: its name.
        network: transformers' model.
        tokenizer: transformers' tokenizer.
        family: its family.
        ends: the tokens that end an answer.
        silent: tokens without text.
        trained: most tokens of a text in its training; None if its files do not say.
        keeps_last: whether it can compute scores for the last token of a prompt only.
    """

    name: str
    network: Any
    tokenizer: Any
    family: Family
    ends: frozenset[int]
    silent: frozenset[int]
    trained: int | None
    keeps_last: bool

    def encode(self, text: str) -> list[int]:
        """Tokenise a text that is not the start of a prompt."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens unchanged."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text


def installed() -> None:
    """Check that the libraries are installed without importing them, which takes seconds.

    Raises:
        MissingExtra: one is not installed.
    """
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise MissingExtra("a model in the format of Hugging Face", "hf")


def place_of(path: str, gguf_file: str = "") -> Place:
    """Find a model: a folder, a GGUF file, `smollm2`, or the name of one that was downloaded before (`owner/name`).

    Raises:
        ModelFileError: there is none, or it is not one; says what to do.
    """
    if not path:
        raise ModelFileError("hf needs a model: hf:PATH, a folder with config.json or a GGUF file")
    given = Path(path).expanduser()
    if path == SMOLLM2.name and not given.exists():
        return Place(SMOLLM2.path().parent, SMOLLM2.path().name, SMOLLM2)
    if given.is_file() and not gguf_file:
        check_gguf(given)
        return Place(given.parent, given.name)
    folder = given if given.is_dir() else _downloaded(path)
    if gguf_file:
        check_gguf(folder / gguf_file)
        return Place(folder, gguf_file)
    if not (folder / "config.json").is_file():
        files = sorted(file.name for file in folder.glob("*.gguf"))
        hint = f"; for the GGUF file in it, write 'hf:{path}/{files[0]}'" if files else ""
        raise ModelFileError(f"{str(folder)!r} is not a model: it has no config.json{hint}")
    return Place(folder)


def _downloaded(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except HFValidationError:
        raise ModelFileError(f"cannot read the model {name!r}: no such file or folder") from None
    except LocalEntryNotFoundError:
        raise ModelFileError(
            f"the model {name!r} is not a file or folder here, and is not downloaded: get it with `hf download "
            f"{name}` (nothing is downloaded while a task is solved)"
        ) from None


def load(place: Place, *, dtype: Dtype, device: str, say: Say) -> Model:
    """Load a model; blocks, from a second to minutes: transformers is slow with GGUF files.

    Args:
        place: its location.
        dtype: data type of its weights; `auto` is that of its files.
        device: where it computes: `cpu`, `cuda`, `mps`.
        say: called with a progress message and the part done, from 0 to 1.

    Raises:
        ModelFileError: it cannot be loaded, or is of a kind that cannot be used; says why.
    """
    # Set before torch reads it: OpenMP's threads would spin while they wait for each other, which makes everything many
    # times slower on a busy machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    if place.source is not None:
        place.source.pull(say)
    say("loading the libraries", 0.0)
    with quietly():
        import torch
        import transformers

        source: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        if place.gguf:
            source["gguf_file"] = place.gguf
        folder = str(place.folder)
        try:
            say(f"reading what {place.name} is", 0.1)
            config = transformers.AutoConfig.from_pretrained(folder, **source)
            family = family_of(config)
            if config.model_type == "xlstm":
                config.mode, config.return_last_states = "inference", True  # as trained, it would keep no state
            say(f"loading the tokenizer of {place.name}", 0.2)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **source)
            say(f"loading the weights of {place.name}", 0.4)
            weights = {} if place.gguf else {"use_safetensors": True}  # the other format is code
            network, told = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=dtype if dtype == "auto" else getattr(torch, dtype),
                output_loading_info=True,
                **weights,
                **source,
            )
            _check_whole(place, told)
            network = _on(device, network).eval()
        except ModelFileError:
            raise
        except Exception as error:  # the libraries raise whatever a damaged file makes them raise
            raise ModelFileError(_why(place, error)) from error
    say(f"{place.name} is loaded", 1.0)
    return _described(place.name, network, tokenizer, family)


def _on(device: str, network: Any) -> Any:
    """Move a network to where it shall compute.

    Raises:
        ModelFileError: there is no such device, or no room on it.
    """
    try:
        return network.to(device)
    except Exception as error:  # torch has no class for this
        advice = "name another in the option 'device', such as cpu"
        raise ModelFileError(f"cannot use the device {device!r}: {_in_short(error)}; {advice}") from error


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"


def _why(place: Place, error: Exception) -> str:
    words = _in_short(error)
    where = str(place.folder / place.gguf)
    advice = "; its files are damaged, incomplete, or of a kind that this version of transformers does not know"
    if "safetensors" in words and isinstance(error, OSError):
        advice = (
            "; weights should be in files model*.safetensors, since loading other formats can run code: convert them "
            "with model.save_pretrained(FOLDER)"
        )
    return f"cannot load {where!r}: {words}{advice}"


def _check_whole(place: Place, told: Mapping[str, Any]) -> None:
    """Refuse a model with missing or wrongly sized parts, which would contain random numbers."""
    lacking = sorted(str(name) for key in ("missing_keys", "mismatched_keys") for name in told[key])
    if lacking:
        raise ModelFileError(
            f"{str(place.folder / place.gguf)!r} lacks {len(lacking)} of the weights that its configuration names, "
            f"such as {lacking[0]}; download it again"
        )


def _described(name: str, network: Any, tokenizer: Any, family: Family) -> Model:
    config = network.config
    said = [network.generation_config.eos_token_id, config.eos_token_id, tokenizer.eos_token_id]
    ends = frozenset(
        token for each in said if each is not None for token in (each if isinstance(each, list) else [each])
    )
    tags = {tokenizer.convert_tokens_to_ids(tag) for tag in ("<think>", "</think>")}
    lengths = (getattr(config, "max_position_embeddings", None), getattr(tokenizer, "model_max_length", None))
    trained = next((int(length) for length in lengths if length and 0 < length < _NO_LIMIT), None)
    return Model(
        name=name,
        network=network,
        tokenizer=tokenizer,
        family=family,
        ends=ends,
        silent=frozenset(tokenizer.all_special_ids) - tags,
        trained=trained,
        keeps_last="logits_to_keep" in inspect.signature(network.forward).parameters,
    )


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Hide the libraries' progress bars and advice from the user, but not their errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import modeling_gguf_pytorch_utils as gguf_reader
        from transformers.utils import logging

        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        bar, gguf_reader.tqdm = gguf_reader.tqdm, _barless  # this one has no switch
        try:
            yield
        finally:
            gguf_reader.tqdm = bar
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()


def _barless(items: Iterable[Any], **_looks: Any) -> Iterable[Any]:
    return items
