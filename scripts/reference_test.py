"""Compares the service with openai/whisper on the same weights: tokens, times, prompts, languages.

It needs no network once openai-whisper is installed into build/, and takes minutes: --sample takes
the cases that `make test` runs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from reference.cases import everything, sample
from reference.compare import CHECKS, compare
from reference.runs import answer

_SHOWN = 12  # differences of each kind


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", action="store_true", help="only a minute of it")
    parser.add_argument("--only", choices=list(CHECKS), nargs="+", help="these comparisons")
    arguments = parser.parse_args()
    cases = sample() if arguments.sample else everything()
    with tempfile.TemporaryDirectory() as folder:
        openai, service = answer(cases, Path(folder))
    differ = False
    for name in arguments.only or CHECKS:
        found = compare(name, cases, openai, service)
        differ |= bool(found.differences)
        print(
            f"{name:28} {found.compared:5} compared, {len(found.differences):4} differ, "
            f"largest difference {found.largest:.2g}"
        )
        for line in found.differences[:_SHOWN]:
            print(f"    {line}")
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
