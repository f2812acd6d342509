from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from whisper_service.checkpoints.embedded import prepare
from whisper_service.settings import Settings


@pytest.fixture(scope="session")
def prepared() -> Callable[[str], Path]:
    """The folder of an embedded model; downloaded and converted on first use."""
    return cache(lambda key: prepare(key, Settings(_env_file=None).cache_dir))
