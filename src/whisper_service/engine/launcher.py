"""How vLLM's processes are started: directly, as vLLM does it, unless a device needs more.

A launcher decides what the engine is given beside its profile, in which environment vLLM is
imported, and how its processes come into being. `engine.cpu.launcher` has the CPU's.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from whisper_service.engine.profiles import Profile
from whisper_service.engine.worker.plugin import ARCHITECTURE, register_class


@dataclass(frozen=True)
class WorkerSetup:
    """A function that prepares the loaded model, in vLLM's worker.

    function: `module:name`, called with the worker's model runner and the arguments; it gives a
        `Replaced` as a dictionary.
    """

    function: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Replaced:
    """What computes in place of vLLM's.

    in_use: by name.
    warnings: of what should be in use and is not.
    check_seconds: that comparing it with vLLM's took.
    """

    in_use: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    check_seconds: float = 0.0


class Launcher:
    """Starts the engine as vLLM does: the GPU's way, and the default.

    Args:
        profile: of the device.
        overrides: the operator's engine arguments.
    """

    def __init__(self, profile: Profile, overrides: Mapping[str, Any] | None = None) -> None:
        self.profile = profile
        self.overrides = dict(overrides or {})

    def arguments(self) -> dict[str, Any]:
        """Engine arguments beside the profile's, which the operator may override."""
        return {}

    def environment(self) -> dict[str, str]:
        """What is set, unless the operator has set it, before vLLM is imported anywhere."""
        return dict(self.profile.environment)

    def prepare(self) -> None:
        """Starts what can be started before the service is imported. Safe to call twice."""

    def build(self, arguments: Mapping[str, Any]) -> Any:
        """The `AsyncLLM` with these arguments, its processes started. Blocks.

        Raises:
            PluginNotLoadedError: vLLM does not know the model class.
            ValueError: an argument is unknown or wrong.
        """
        self.prepare()
        for name, value in self.environment().items():
            os.environ.setdefault(name, value)
        with lasting_imports():
            # vLLM reads its environment when it is imported, and takes seconds to import.
            from vllm import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM

            if ARCHITECTURE in arguments.get("hf_overrides", {}).get("architectures", ()):
                register_class()
        with self._processes():
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))

    def _processes(self) -> AbstractContextManager[None]:
        """Within it, vLLM starts its processes."""
        return nullcontext()

    def wait(self) -> WorkerSetup | None:
        """Blocks until what was prepared aside is there. How to set up the worker's model."""
        return None

    def stop(self) -> None:
        """Lets go of what was prepared aside, and of `wait`. Waits for nothing."""


@contextmanager
def lasting_imports() -> Iterator[None]:
    """For many imports: what they make stays, so nobody looks through it for garbage meanwhile.

    That takes a fifth of the time of importing, and later a pause now and then.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
