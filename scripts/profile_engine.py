"""Where the engine's time goes on a CPU, by kind of work, beside what the processor can do.

One engine, its model in its own process, decodes windows of speech under PyTorch's profiler.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmark.limit import processor_bf16, whisper_work
from benchmark.results import table

KINDS = (
    ("encoder's attention", ("scaled_dot_product", "flash_attention", "bmm", "softmax")),
    ("decoder's attention", ("cpu_attention", "unified_attention", "reshape_and_cache")),
    ("linear layers", ("linear", "addmm", "aten::mm", "matmul", "onednn_mm", "gemm")),
    ("convolutions", ("conv", "mkldnn_reorder")),
    ("GELU", ("gelu",)),
    ("layer norms", ("layer_norm",)),
    ("sampling", ("argmax", "logsumexp", "gather", "index_fill", "amax")),
    ("copies", ("copy_", "_to_copy", "aten::cat", "clone", "contiguous")),
)


def kind_of(operator: str) -> str:
    for kind, parts in KINDS:
        if any(part in operator for part in parts):
            return kind
    return "everything else in PyTorch"


async def measure(in_flight: int) -> dict[str, Any]:
    from benchmark.bare import BareEngine
    from benchmark.speech import clips

    audio = clips(25.0, 2 * in_flight)
    bare = await BareEngine.start({"worker_extension_cls": "benchmark.op_profile.OperatorProfile"})
    llm = bare._llm  # noqa: SLF001
    try:
        await llm.collective_rpc("profile_prepare")
        await bare.transcribe([each.samples for each in audio[:in_flight]])
        began = time.perf_counter()
        await bare.transcribe([each.samples for each in audio[in_flight:]])
        plain = time.perf_counter() - began
        await llm.collective_rpc("profile_start")
        began = time.perf_counter()
        await bare.transcribe([each.samples for each in audio[in_flight:]])
        profiled = time.perf_counter() - began
        (found,) = await llm.collective_rpc("profile_stop")
    finally:
        await asyncio.to_thread(llm.shutdown)
    return {"in_flight": in_flight, "seconds": plain, "profiled_seconds": profiled, **found}


def show(found: dict[str, Any], peak: float) -> None:
    kinds: dict[str, float] = {}
    for operator, seconds in found["operators"].items():
        kinds[kind_of(operator)] = kinds.get(kind_of(operator), 0.0) + seconds
    wall = found["profiled_seconds"]
    kinds["outside PyTorch"] = max(wall - sum(kinds.values()), 0.0)
    rows = [
        (kind, f"{seconds:.2f} s", f"{seconds / wall:.0%}")
        for kind, seconds in sorted(kinds.items(), key=lambda each: -each[1])
    ]
    print(table(("kind of work", "time", "share"), rows))
    work = whisper_work(512, 6, 51_865, 80, 1)
    least = found["in_flight"] * work.encoder_flop / peak
    print(
        f"\n{found['in_flight']} windows in {found['seconds']:.2f} s without the profiler, "
        f"{wall:.2f} s with it. The encoder's products alone need {least:.2f} s at this "
        f"processor's {peak / 1e9:.0f} GFLOP/s: {least / found['seconds']:.0%} of the limit."
    )
    greatest = sorted(found["operators"].items(), key=lambda each: -each[1])[:25]
    print("\n" + table(("operator", "s"), [(name[:60], f"{s:.3f}") for name, s in greatest]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--output", type=Path, default=Path("bench-results/profile.json"))
    arguments = parser.parse_args()
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    peak = processor_bf16()
    found = asyncio.run(measure(arguments.in_flight))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({**found, "peak": peak}, indent=1) + "\n")
    show(found, peak)


if __name__ == "__main__":
    main()
