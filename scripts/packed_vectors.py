"""Small layers as the libraries that make packed checkpoints pack them: tests/packed_by_libraries.json.

    python -m scripts.packed_vectors [--out FILE]

Needs bitsandbytes and auto-round (whose packing is that of AutoGPTQ and AutoAWQ) in the environment; both work on a
processor. The layers follow from closed forms, which tests/test_packed_libraries.py states again.
"""

from __future__ import annotations

import argparse
import base64
import importlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

OUT = Path(__file__).resolve().parent.parent / "tests" / "packed_by_libraries.json"
INPUTS, OUTPUTS, GROUP = 32, 32, 16
BNB_INPUTS, BNB_OUTPUTS = 64, 5


def stored(tensor: torch.Tensor) -> dict[str, Any]:
    """A tensor as JSON: its bytes, little-endian, in base64."""
    raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "base64": base64.b64encode(raw).decode(),
    }


def vector(name: str, library: str, quantization: dict[str, Any], tensors: Any) -> dict[str, Any]:
    """One packed layer with the name and version of what packed it."""
    made_by = f"{library} {version(library)}"
    packed = {key: stored(tensor) for key, tensor in tensors.items()}
    return {"name": name, "made_by": made_by, "quantization": quantization, "tensors": packed}


def by_bitsandbytes() -> list[dict[str, Any]]:
    """nf4, fp4 (scales quantized too or not) and int8, each with the weights that the library reads back."""
    bnb: Any = importlib.import_module("bitsandbytes")
    weight = torch.tensor(
        [[(((7 * o + 3 * i + o * i) % 61) - 30) * (o + 1) / 256 for i in range(BNB_INPUTS)] for o in range(BNB_OUTPUTS)]
    )
    found = []
    for kind, nested in (("nf4", False), ("fp4", False), ("nf4", True)):
        layer = bnb.nn.Linear4bit(BNB_INPUTS, BNB_OUTPUTS, bias=False, quant_type=kind, compress_statistics=nested)
        layer.weight = bnb.nn.Params4bit(
            weight.clone(), requires_grad=False, quant_type=kind, compress_statistics=nested, module=layer
        )
        layer = layer.to("cpu")
        one = vector(
            f"bitsandbytes {kind}" + (", scales quantized" if nested else ""),
            "bitsandbytes",
            {"quant_method": "bitsandbytes", "load_in_4bit": True},
            layer.state_dict(),
        )
        dense = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        found.append({**one, "dense": stored(dense)})
    layer = bnb.nn.Linear8bitLt(BNB_INPUTS, BNB_OUTPUTS, bias=False, has_fp16_weights=False)
    layer.weight = bnb.nn.Int8Params(weight.clone(), requires_grad=False, has_fp16_weights=False)
    layer = layer.to("cpu")
    layer(torch.eye(BNB_INPUTS))  # weights are quantized at the first use
    quantization = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    one = vector("bitsandbytes int8", "bitsandbytes", quantization, layer.state_dict())
    dense = bnb.functional.int8_vectorwise_dequant(layer.state.CB, layer.state.SCB)
    return [*found, {**one, "dense": stored(dense)}]


def on_grid(bits: int, low: int) -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor]:
    """A layer whose weights are on a grid, with zero points from `low` up, and scales that 16 bits hold."""
    groups = range(INPUTS // GROUP)
    levels = torch.tensor([[(7 * o + 3 * i + o * i) % 2**bits for i in range(INPUTS)] for o in range(OUTPUTS)])
    zeros = torch.tensor([[low + (5 * o + 3 * g) % (2**bits - low) for g in groups] for o in range(OUTPUTS)])
    scales = torch.tensor([[(o + 1 + g) / 64 for g in groups] for o in range(OUTPUTS)])
    layer = torch.nn.Linear(INPUTS, OUTPUTS, bias=False)
    layer.weight.data = (levels - zeros.repeat_interleave(GROUP, 1)) * scales.repeat_interleave(GROUP, 1)
    return layer, zeros, scales


def by_auto_round() -> list[dict[str, Any]]:
    """GPTQ with zero points less one (AutoGPTQ's format) and as they are (gptq_v2), and AWQ's gemm layout."""
    found = []
    for module, style, low in (("qlinear_torch_zp", "gptq", 1), ("qlinear_torch", "gptq_v2", 0)):
        packer: Any = importlib.import_module(f"auto_round_extension.torch.{module}")
        for bits in (2, 3, 4, 8):
            layer, zeros, scales = on_grid(bits, low)
            packed = packer.QuantLinear(bits, GROUP, INPUTS, OUTPUTS, False)
            packed.device = torch.device("cpu")
            packed.pack(layer, scales, zeros, None, device="cpu")
            quantization = {"quant_method": "gptq", "bits": bits, "checkpoint_format": style}
            found.append(vector(f"{style}, {bits} bits", "auto-round", quantization, packed.state_dict()))
    awq: Any = importlib.import_module("auto_round.export.export_to_awq.utils")
    layer, zeros, scales = on_grid(4, 0)
    packed = awq.WQLinear_GEMM.from_linear(
        layer, 4, GROUP, scales=scales.T.contiguous(), zeros=zeros.T.contiguous(), device="cpu"
    )
    quantization = {"quant_method": "awq", "bits": 4, "version": "gemm"}
    return [*found, vector("awq, 4 bits", "auto-round", quantization, packed.state_dict())]


def main() -> None:
    """Pack and write."""
    parser = argparse.ArgumentParser(description="Packed layers of bitsandbytes and auto-round as test vectors.")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE")
    args = parser.parse_args()
    args.out.write_text(json.dumps([*by_bitsandbytes(), *by_auto_round()], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
