"""The recorded speech that demo, benchmark, evaluation and tests use."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def samples_folder() -> Path:
    """The clips `<language>/<name>.wav` of the package pytest-audioeval, with a text beside each.

    Found without importing the package, which is a plugin of pytest.

    Raises:
        SystemExit: the package is not installed.
    """
    found = find_spec("pytest_audioeval")
    if found is None or not found.submodule_search_locations:
        raise SystemExit(
            "The recorded speech is in the package pytest-audioeval: run `make install`"
        )
    return Path(found.submodule_search_locations[0], "samples", "audio")
