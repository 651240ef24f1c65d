"""Which files of a checkpoint hold its weights: those that its index names, or the parts of a split GGUF file.

A folder may hold more: the same weights in another layout, an older export, an adapter. What no index names is not
read, not hashed and not counted; where it is not clear which file is meant, the folder is refused.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from suite.errors import SuiteError, first_line

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
# as gguf-split names the parts of one model
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


class TensorEntry(NamedTuple):
    """A tensor as a safetensors header describes it; its bytes are `file[start:end]`."""

    name: str
    kind: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder, in order of names.

    Those that ``model.safetensors.index.json`` names; without one ``model.safetensors``; without either the only file
    there is.

    Raises:
        SuiteError: no such file, one that the index names and the folder lacks, or several and no word which counts.
    """
    index, single = folder / INDEX, folder / SINGLE
    if index.is_file():
        named = sorted(set(_weight_map(index).values()))
        if single.is_file() and SINGLE not in named:
            raise SuiteError(
                f"model {folder}: {SINGLE} stands beside {INDEX}, which names {named[0]} and other files: it is not "
                "clear which are its weights; remove the ones that are not"
            )
        lacking = [name for name in named if not (folder / name).exists()]
        if lacking:
            raise SuiteError(f"model {folder}: {INDEX} names {lacking[0]}, which is not there; fetch it again")
        return [folder / name for name in named]
    if single.is_file() or single.is_symlink():
        return [single]
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise SuiteError(
            f"model {folder}: no .safetensors files in it; convert the checkpoint with save_pretrained "
            "(pickled weights are not read)"
        )
    if len(files) > 1:
        raise SuiteError(
            f"model {folder}: {len(files)} .safetensors files, first {files[0].name}, and no {INDEX} that says which "
            "are its weights; fetch the index, or keep the one file that holds them"
        )
    return files


def beside(folder: Path) -> list[str]:
    """Names of the safetensors files of a folder that are none of its weights."""
    read = set(weight_files(folder))
    return sorted(file.name for file in folder.glob("*.safetensors") if file not in read)


def tensor_entries(folder: Path) -> Iterator[TensorEntry]:
    """Every tensor of a folder's weight files, file by file.

    Raises:
        SuiteError: a file that is damaged, or an index that names other places than the files do.
    """
    files = weight_files(folder)
    index = folder / INDEX
    places = _weight_map(index) if index.is_file() else {}
    found: dict[str, str] = {}
    for file in files:
        for entry in _header(file):
            here = found.setdefault(entry.name, file.name)
            stated = places.get(entry.name, file.name)
            if here != file.name or stated != file.name:
                other = here if here != file.name else stated
                raise SuiteError(
                    f"model {folder}: tensor {entry.name} is in {file.name} and, by {INDEX}, in {other}; fetch it again"
                )
            yield entry
    lacking = sorted(places.keys() - found.keys())
    if lacking:
        raise SuiteError(
            f"model {folder}: {INDEX} names {len(lacking)} tensors that its files do not hold, first {lacking[0]} in "
            f"{places[lacking[0]]}; fetch it again"
        )


def is_zero(entry: TensorEntry) -> bool:
    """Whether every byte of a small tensor is zero."""
    with entry.file.open("rb") as handle:
        handle.seek(entry.start)
        return not any(handle.read(entry.end - entry.start))


def read_tensor(entry: TensorEntry) -> Any:
    """One tensor of a safetensors file."""
    from safetensors import safe_open

    with safe_open(entry.file, framework="pt") as handle:
        return handle.get_tensor(entry.name)


def gguf_parts(path: Path) -> list[Path]:
    """All files of the model that a GGUF file is, or is the first part of.

    Raises:
        SuiteError: a part that is not the first, or one that is lacking.
    """
    match = _PART.fullmatch(path.name)
    if match is None:
        return [path]
    number, count = int(match["number"]), int(match["count"])
    if number != 1:
        first = f"{match['stem']}-00001-of-{match['count']}.gguf"
        raise SuiteError(f"model file {path}: part {number} of {count} of a model; name its first part, {first}")
    parts = [path.with_name(f"{match['stem']}-{part:05}-of-{match['count']}.gguf") for part in range(1, count + 1)]
    lacking = [part.name for part in parts if not part.is_file()]
    if lacking:
        raise SuiteError(f"model file {path}: of its {count} parts {lacking[0]} is lacking; fetch it into this folder")
    return parts


def gguf_stem(path: Path) -> str:
    """A GGUF file's name without its ending and without the number of a part.

    >>> gguf_stem(Path("big-Q4_K_M-00001-of-00003.gguf")), gguf_stem(Path("small.Q8_0.gguf"))
    ('big-Q4_K_M', 'small.Q8_0')
    """
    match = _PART.fullmatch(path.name)
    return match["stem"] if match else path.name.removesuffix(".gguf")


def _weight_map(index: Path) -> dict[str, str]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if not content or not all(Path(name).name == name for name in content.values()):
            raise ValueError("no file names in its weight_map")
        return dict(content)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise SuiteError(f"model file {index}: damaged ({first_line(error)}); fetch it again") from error


def _header(file: Path) -> Iterator[TensorEntry]:
    try:
        size = file.stat().st_size
        with file.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > size - 8:
                raise ValueError("header longer than the file")
            header = json.loads(handle.read(length))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            if not 8 + length <= start <= end <= size:
                raise ValueError(f"tensor {name!r} lies outside the file")
            yield TensorEntry(name, entry["dtype"], tuple(entry["shape"]), file, start, end)
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SuiteError(f"model file {file}: truncated or damaged ({first_line(error)}); fetch it again") from error
