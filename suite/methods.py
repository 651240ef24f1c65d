"""The compression methods there are: what each is called, makes and needs. Nothing heavy is loaded for it."""

from __future__ import annotations

from dataclasses import dataclass

QUANTIZER, PRUNER, STRUCTURED = "quantizer", "pruner", "structured"
"""Kinds of methods: `<method>-w<bits>...`, `<method>-s<percent>` and N:M, `<method>-s<percent>`."""


@dataclass(frozen=True)
class Method:
    """A compression method as a user sees it.

    Attributes:
        kind: what its level says, and so the form of its names: `QUANTIZER`, `PRUNER`, `STRUCTURED`.
        compress: module of `suite.compress` and function, (network, variant, sample tokens) -> what it did.
        levels: the names it goes by.
        needs: what it needs beyond the model's own memory: sample text, an accelerator, memory.
        paper: where it comes from.
        recipe: what exactly it does here; part of the key of every cell.
        limits: what it cannot do, or when it misleads.
        reads_text: whether weights depend on sample text.
    """

    kind: str
    compress: str
    levels: str
    needs: str
    paper: str
    recipe: str
    limits: str
    reads_text: bool = True


_TEXT = "sample text, one block's activations"
METHODS = {
    "rtn": Method(
        kind=QUANTIZER,
        compress="rtn.compress",
        levels="rtn-w{8,6,5,4,3,2}[a{8,4}][kv8][-g<group>]",
        needs="nothing (kv8: sample text)",
        paper="baseline",
        recipe="symmetric min-max grid, one scale an output row or group; all linear layers of the blocks",
        limits="one outlier sets the scale of its row or group",
        reads_text=False,
    ),
    "gptq": Method(
        kind=QUANTIZER,
        compress="gptq.compress",
        levels="gptq-w{8,6,5,4,3,2}[a{8,4}][kv8][-g<group>]",
        needs=f"{_TEXT} and Hessians",
        paper="Frantar et al. 2023, arXiv 2210.17323",
        recipe="rtn's grid; GPTQ of llm-compressor, blocks of 128 columns, static activation order, dampening 0.01",
        limits="a layer whose Hessian cannot be inverted is rounded to nearest, which the row's notes say",
    ),
    "awq": Method(
        kind=QUANTIZER,
        compress="awq.compress",
        levels="awq-w{8,6,5,4,3,2}[-g<group>]",
        needs=f"{_TEXT}",
        paper="Lin et al. 2024, arXiv 2306.00978",
        recipe="AWQ of llm-compressor, 20 exponents, weights and activations; asymmetric min-max grid",
        limits="its grid has zero points, rtn's and gptq's has none: compare at equal bits a weight",
    ),
    "smoothquant": Method(
        kind=QUANTIZER,
        compress="smoothquant.compress",
        levels="smoothquant-w8a8, and other w<bits>a<bits>",
        needs=f"{_TEXT}",
        paper="Xiao et al. 2023, arXiv 2211.10438",
        recipe="SmoothQuant of llm-compressor, strength 0.5; then rtn's grid, activations one scale a token",
        limits="made for 8 bits; at 4 rotations do better",
    ),
    "spinquant": Method(
        kind=QUANTIZER,
        compress="rotation.spinquant",
        levels="spinquant-w{8,...,2}[a{8,4}][-g<group>]",
        needs=f"{_TEXT} and Hessians; unties the head",
        paper="Liu et al. 2025, arXiv 2405.16406; fixed rotations as in QuaRot, arXiv 2404.00456",
        recipe="random Hadamard R1, R2, R4 of llm-compressor, seed 0; then gptq",
        limits="rotations are not learned; Llama, Mistral and Qwen2 norms only; centres the embeddings",
    ),
    "quip": Method(
        kind=QUANTIZER,
        compress="rotation.quip",
        levels="quip-w{8,...,2}[a{8,4}][-g<group>]",
        needs=f"{_TEXT} and Hessians",
        paper="Chee et al. 2023, arXiv 2307.13304",
        recipe="random Hadamard on inputs and outputs of every layer, of llm-compressor, seed 0; then gptq",
        limits="rotates while it runs, which makes scoring slower; no lattice codebooks",
    ),
    "magnitude": Method(
        kind=PRUNER,
        compress="magnitude.compress",
        levels="magnitude-s{5,10,...,95,98}, magnitude-2:4, magnitude-4:8",
        needs="nothing",
        paper="Han et al. 2015, arXiv 1506.02626",
        recipe="smallest absolute weights of each matrix to zero; all linear layers of the blocks",
        limits="blind to activations",
        reads_text=False,
    ),
    "wanda": Method(
        kind=PRUNER,
        compress="wanda.wanda",
        levels="wanda-s{5,10,...,95,98}, wanda-2:4, wanda-4:8",
        needs=f"{_TEXT}",
        paper="Sun et al. 2024, arXiv 2306.11695",
        recipe="Wanda of llm-compressor: |weight| times input norm, each output row alike",
        limits="weights that stay are not adjusted",
    ),
    "sparsegpt": Method(
        kind=PRUNER,
        compress="wanda.sparsegpt",
        levels="sparsegpt-s{5,10,...,95,98}, sparsegpt-2:4, sparsegpt-4:8",
        needs=f"{_TEXT} and Hessians",
        paper="Frantar & Alistarh 2023, arXiv 2301.00774",
        recipe="SparseGPT of llm-compressor, blocks of 128 columns, dampening 0.01",
        limits="slow; every block of 128 columns loses the same fraction",
    ),
    "depth": Method(
        kind=STRUCTURED,
        compress="depth.compress",
        levels="depth-s{5,10,...,95}",
        needs="sample text",
        paper="ShortGPT, Men et al. 2024, arXiv 2403.03853",
        recipe="blocks of least influence removed, one pass, no training",
        limits="levels are whole blocks: the row has the measured one",
    ),
    "width": Method(
        kind=STRUCTURED,
        compress="width.compress",
        levels="width-s{5,10,...,95}",
        needs="sample text",
        paper="Wanda's score over structures, as in FLAP, arXiv 2312.11983",
        recipe="groups of heads and MLP channels of least |weight| times input norm, alike in every block, no training",
        limits="heads go in whole groups; the MLP makes up the difference; takes no experts",
    ),
}
"""Methods by name, each in a file of `suite/compress`."""
