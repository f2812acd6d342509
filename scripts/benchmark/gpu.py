"""The same measurements on a GPU, at large-v3's size: one command, over in eight minutes.

With real weights where WHISPER_MODEL names a checkpoint; else its architecture with dummy weights
and a fixed number of tokens a window, which is as much work. Each way of running the engine is
measured with several numbers of windows in flight; ways that no longer fit into the time are left
out and said so. `dry_run` does all of it on a CPU, tiny: only the device differs.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.limit import Card, card_named, roofline, whisper_work
from benchmark.results import table

_LIMIT_SECONDS = 440.0  # of the whole command, with room for its end
_WAY_SECONDS = 170.0  # that a way may take: starting, warming up, measuring
_TOKENS = 110  # about what a window of dense speech says
_WINDOW_SECONDS = 30.0


@dataclass(frozen=True)
class Way:
    """One way of running the engine; `engine_args` replace the profile's."""

    name: str
    engine_args: Mapping[str, Any]

    @property
    def cache_bytes(self) -> int:
        return 1 if self.engine_args.get("kv_cache_dtype", "fp8_e4m3") == "fp8_e4m3" else 2


WAYS = (
    Way("fp8 cache, compiled, graphs", {}),
    Way("bfloat16 cache, compiled, graphs", {"kv_cache_dtype": "auto"}),
    Way("fp8 cache, eager", {"enforce_eager": True, "compilation_config": {"mode": 0}}),
    Way("fp8 cache, Triton's attention", {"attention_backend": "TRITON_ATTN"}),
)


@dataclass(frozen=True)
class Size:
    """in_flight: windows at once; the model's numbers are for the dummy one."""

    in_flight: tuple[int, ...]
    tokens: int
    rounds: int
    width: int
    layers: int
    heads: int


LARGE_V3 = Size((1, 8, 32, 64, 128), _TOKENS, 3, width=1_280, layers=32, heads=20)
TINY = Size((1, 2), 8, 2, width=128, layers=2, heads=2)


def run_on_gpu(output: Path, *, dry_run: bool) -> int:
    """Measures each way in a process of its own, so that memory and a crash are its own."""
    began = time.perf_counter()
    found: list[dict[str, Any]] = []
    for way in WAYS:
        left = _LIMIT_SECONDS - (time.perf_counter() - began)
        if found and left < _WAY_SECONDS:
            found.append({"way": way.name, "failed": "no time left"})
            continue
        print(f"{time.perf_counter() - began:5.0f} s  {way.name}", file=sys.stderr, flush=True)
        found.append(_in_process(way, dry_run=dry_run, seconds=min(left, 2 * _WAY_SECONDS)))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"dry_run": dry_run, "ways": found}, indent=1) + "\n")
    if dry_run:
        print("A dry run on a CPU: these numbers say nothing of a GPU.")
    print(gpu_table(found))
    return 0 if any("rows" in each for each in found) else 1


def _in_process(way: Way, *, dry_run: bool, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmark.gpu", way.name, "dry" if dry_run else "real"]
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"way": way.name, "failed": f"not over after {seconds:.0f} s"}
    if done.returncode != 0:
        return {"way": way.name, "failed": done.stderr.strip()[-2_000:]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def gpu_table(found: list[dict[str, Any]]) -> str:
    header = (
        "way", "in flight", "RTFx", "rounds", "share of the limit", "latency", "memory", "start"
    )  # fmt: skip
    rows = []
    for each in found:
        if "failed" in each:
            reason = each["failed"].splitlines()[-1] if each["failed"] else "failed"
            rows.append((each["way"], "", "", reason[:60], "", "", "", ""))
        for row in each.get("rows", ()):
            share = f"{row['share']:.0%}" if row["share"] is not None else "unknown card"
            rows.append(
                (
                    each["way"],
                    row["in_flight"],
                    f"{row['rtfx']:.1f}",
                    f"{row['least']:.1f} to {row['greatest']:.1f}",
                    share,
                    f"{row['seconds']:.2f} s",
                    f"{each['memory_gb']:.1f} GB",
                    f"{each['start_seconds']:.0f} s",
                )
            )
    return table(header, rows)


async def measure(way: Way, size: Size, *, dry_run: bool) -> dict[str, Any]:
    """One way, in this process."""
    from whisper_service.resolve import resolve_engine
    from whisper_service.settings import load_settings

    settings = load_settings()
    settings = settings.model_copy(update={"profile": "cpu" if dry_run else "gpu"})
    overrides: dict[str, Any] = {"max_num_seqs": max(size.in_flight)}
    overrides |= {} if dry_run else way.engine_args
    with tempfile.TemporaryDirectory() as folder:
        if settings.model and not dry_run:
            resolved = resolve_engine(settings, overrides)
        else:
            _dummy_checkpoint(Path(folder), size)
            resolved = resolve_engine(settings, overrides | {"load_format": "dummy"}, folder)
        checkpoint, engine = resolved.checkpoint, resolved.engine()
        began = time.perf_counter()
        facts = await engine.start()
        start_seconds = time.perf_counter() - began
        try:
            rows = [await _row(engine, checkpoint, number, size, way) for number in size.in_flight]
            memory = await _memory_gb(engine)
        finally:
            await engine.stop()
    return {
        "way": way.name,
        "facts": str(facts),
        "device": _device_name(),
        "start_seconds": start_seconds,
        "memory_gb": memory,
        "rows": rows,
    }


def _dummy_checkpoint(folder: Path, size: Size) -> None:
    import boot_large_v3
    from whisper_service.checkpoints.resolve import resolve_model
    from whisper_service.settings import load_settings

    base = Path(resolve_model("embedded", load_settings().cache_dir))
    boot_large_v3.make_checkpoint(base, folder)
    boot_large_v3.edit(
        folder / "config.json",
        d_model=size.width,
        encoder_layers=size.layers,
        decoder_layers=size.layers,
        num_hidden_layers=size.layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=4 * size.width,
        decoder_ffn_dim=4 * size.width,
    )


async def _row(engine: Any, checkpoint: Any, number: int, size: Size, way: Way) -> dict[str, Any]:
    """So many windows at once, with the service's rules, each of a fixed number of tokens."""
    from benchmark.fixed import FixedWindows

    windows = FixedWindows(engine, checkpoint.vocabulary, size.tokens)
    await windows.run(number)  # graphs of this size, and caches
    seconds = [await windows.run(number) for _ in range(size.rounds)]
    rates = [number * _WINDOW_SECONDS / each for each in seconds]
    rate = statistics.median(rates)
    card: Card | None = card_named(_device_name())
    share = None
    if card is not None:
        vocabulary = checkpoint.vocabulary.size
        work = whisper_work(size.width, size.layers, vocabulary, 128, way.cache_bytes)
        share = rate / roofline(work, card, number, size.tokens)
    return {
        "in_flight": number,
        "rtfx": rate,
        "least": min(rates),
        "greatest": max(rates),
        "seconds": statistics.median(seconds),
        "share": share,
    }


def _device_name() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


async def _memory_gb(engine: Any) -> float:
    """Of the GPU as the driver counts it; without one, of the engine's processes."""
    import psutil
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return (total - free) / 1e9
    del engine
    tree = psutil.Process().children(recursive=True)
    return float(sum(each.memory_info().rss for each in tree)) / 1e9


def main() -> None:
    way = next(each for each in WAYS if each.name == sys.argv[1])
    dry_run = sys.argv[2] == "dry"
    size = TINY if dry_run else LARGE_V3
    print(json.dumps(asyncio.run(measure(way, size, dry_run=dry_run))))


if __name__ == "__main__":
    main()
