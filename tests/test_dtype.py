"""The dtype rule, and the measurement it rests on."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from suite.models.dtype import measure_dtypes, pick_dtype


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        ({"bfloat16": 2.3, "float32": 2.0}, "bfloat16"),  # exactly 1.15 times as fast
        ({"bfloat16": 114.9, "float32": 100.0}, "float32"),
        ({"bfloat16": 20.0, "float32": 100.0}, "float32"),
        ({"float32": 100.0}, "float32"),
        ({"bfloat16": 5.0}, "bfloat16"),
        ({}, "float32"),
        ({"bfloat16": 0.0, "float32": 0.0}, "float32"),
    ],
)
def test_bfloat16_is_picked_only_when_clearly_faster(speeds: dict[str, float], expected: str) -> None:
    assert pick_dtype(speeds) == expected


def test_measurement_is_short_positive_and_leaves_the_random_state_alone() -> None:
    import torch

    measure_dtypes()
    before = torch.random.get_rng_state()
    start = time.perf_counter()
    speeds = measure_dtypes("cpu")
    assert time.perf_counter() - start < 5  # 0.7 s on an idle machine; the tests may share theirs
    assert torch.equal(torch.random.get_rng_state(), before)
    assert set(speeds) == {"bfloat16", "float32"}
    assert all(0.01 < speed < 1e6 for speed in speeds.values())


def test_speed_counts_the_operations_of_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that ticks one second a reading, 2·512·576·1536 operations take exactly one second."""
    ticks = iter(float(tick) for tick in range(10_000))
    monkeypatch.setattr("suite.models.dtype.time.perf_counter", lambda: next(ticks))
    speeds = measure_dtypes()
    assert speeds["float32"] == pytest.approx(2 * 512 * 576 * 1536 / 1e9)


def test_a_dtype_the_device_refuses_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    linear = torch.nn.functional.linear

    def without_bfloat16(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if hidden.dtype is torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return linear(hidden, weight)

    monkeypatch.setattr(torch.nn.functional, "linear", without_bfloat16)
    speeds = measure_dtypes()
    assert set(speeds) == {"float32"}
    assert pick_dtype(speeds) == "float32"


@pytest.mark.gpu
def test_an_accelerator_prefers_bfloat16() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no accelerator")
    speeds = measure_dtypes("cuda")
    assert pick_dtype(speeds) == "bfloat16"


def test_importing_the_module_does_not_import_torch() -> None:
    code = "import sys, suite.models.dtype; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
