"""Speed beside every alternative, with the same weights on the same machine, in one run.

Peers take turns in every round, so that a noisy machine is noisy for all; what is told are ratios
of medians and their spread. `--quick` measures what the goals are about, in eight minutes. Texts
that are doubted are tried once here, since most peers know no second try.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmark.plots import draw
from benchmark.results import Results, Verdict, goal_table, guard, rate_table, table

ROOT = Path(__file__).parents[1]
PLOTTED = ("clips, 1 in flight", "clips, 16 in flight", "10 min", "10 min, half silent")
SLACK = 0.1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the goals alone, in eight minutes")
    parser.add_argument("--smoke", action="store_true", help="all of it once, tiny: does it work?")
    parser.add_argument("--profile", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument(
        "--dry-run-device",
        choices=["cpu"],
        help="with --profile gpu: the same run, tiny, without a GPU; its numbers mean nothing",
    )
    parser.add_argument("--guard", type=Path, help="ratios to compare with; ends with 1 if worse")
    parser.add_argument("--baseline", type=Path, help="where to write this run's ratios as such")
    parser.add_argument("--plots", type=Path, help="a folder to draw SVG charts into")
    parser.add_argument("--output", type=Path, default=ROOT / "bench-results/bench.json")
    arguments = parser.parse_args()
    if arguments.profile == "gpu":
        from benchmark.gpu import run_on_gpu

        return run_on_gpu(arguments.output, dry_run=arguments.dry_run_device is not None)

    from benchmark import cpu

    # The peers are stopped, and what was measured is told, also where this run is cut short.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.perf_counter()
    plan = cpu.SMOKE if arguments.smoke else cpu.QUICK if arguments.quick else cpu.FULL
    session = cpu.Session(plan, say(began))
    results = session.results
    results.machine = machine()
    try:
        session.run()
    finally:
        verdicts = [goal.judge(results) for goal in cpu.GOALS]
        results.save(arguments.output, verdicts)
        show(results, verdicts, cpu.OURS)
    if arguments.plots:
        draw(results, cpu.OURS, PLOTTED, arguments.plots)
    if arguments.baseline:
        ratios = {
            v.name: round(v.value, 3)
            for v in verdicts
            if v.value is not None and not v.wanted.endswith(" s")
        }
        arguments.baseline.write_text(json.dumps(ratios, indent=1) + "\n")
    return compare(arguments.guard, verdicts) if arguments.guard else 0


def say(began: float) -> Callable[[str], None]:
    def tell(text: str) -> None:
        print(f"{time.perf_counter() - began:5.0f} s  {text}", file=sys.stderr, flush=True)

    return tell


def machine() -> dict[str, object]:
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {"processor": model, "cpus": os.cpu_count(), "python": platform.python_version()}


def show(results: Results, verdicts: list[Verdict], ours: str) -> None:
    print("\n" + rate_table(results, ours))
    for kind, numbers in results.numbers.items():
        if kind != "last_text":
            print("\n" + table((kind, ""), list(numbers.items())))
    print("\n" + goal_table(verdicts))


def compare(baseline: Path, verdicts: list[Verdict]) -> int:
    worse = guard(json.loads(baseline.read_text()), verdicts, SLACK)
    for each in worse:
        print(f"worse: {each}", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
