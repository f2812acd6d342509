from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from whisper_service.engine.cpu import launcher
from whisper_service.engine.cpu.kernels.ahead import Ahead
from whisper_service.engine.cpu.launcher import (
    EXECUTOR,
    REPLACEMENTS,
    SCHEDULER,
    ForkedLauncher,
    fast_libraries,
)
from whisper_service.engine.devices import Device
from whisper_service.engine.profiles import choose

CPU = choose("auto", Device(None))
TWO = {"VLLM_CPU_OMP_THREADS_BIND": "0,1"}


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD", "VLLM_CPU_OMP_THREADS_BIND"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("overrides", "one"),
    [
        ({}, True),
        ({"max_num_seqs": 4}, True),
        ({"data_parallel_size": 2}, False),
        ({"tensor_parallel_size": 2}, False),
        ({"distributed_executor_backend": "mp"}, False),
    ],
)
def test_a_cpus_one_engine_computes_in_one_process(overrides: dict[str, Any], one: bool) -> None:
    launcher = ForkedLauncher(CPU, overrides)
    assert launcher.is_one_process is one
    executor = {"distributed_executor_backend": EXECUTOR} if one else {}
    assert launcher.arguments() == {"scheduler_cls": SCHEDULER, **executor}


def test_nothing_is_compiled_where_the_model_is_not() -> None:
    assert ForkedLauncher(CPU).environment()["TORCH_COMPILE_DISABLE"] == "1"
    compiled = ForkedLauncher(CPU, {"enforce_eager": False})
    assert "TORCH_COMPILE_DISABLE" not in compiled.environment()


@pytest.mark.parametrize("compiled", [True, False])
def test_the_worker_is_told_the_one_name_of_the_replacements(
    monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    kernels = Ahead()
    monkeypatch.setattr(kernels, "wait", lambda: compiled)
    monkeypatch.setattr(launcher, "kernels", kernels)
    setup = ForkedLauncher(CPU).wait()
    assert setup is not None
    assert setup.arguments == (compiled,)
    module, _, name = REPLACEMENTS.partition(":")
    assert setup.function == REPLACEMENTS
    assert callable(getattr(__import__(module, fromlist=[name]), name))


def test_kernels_that_are_turned_off_are_neither_compiled_nor_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launcher, "kernels", None)  # nothing may be asked of them
    monkeypatch.setattr(launcher.forkserver, "ensure_running", lambda: None)
    off = ForkedLauncher(CPU, own_kernels=False)
    off.prepare()
    assert off.wait() is None


def test_openmps_threads_are_placed_on_the_profiles_processors() -> None:
    variables = fast_libraries({"VLLM_CPU_OMP_THREADS_BIND": "2,3,5"})
    assert variables["OMP_NUM_THREADS"] == "3"
    assert "proclist=[2,3,5]" in variables["KMP_AFFINITY"]


def test_only_libraries_that_exist_are_preloaded() -> None:
    for library in fast_libraries(TWO).get("LD_PRELOAD", "").split(":"):
        assert Path(library).is_file()


def test_intels_library_comes_from_the_package_that_vllm_brings() -> None:
    assert "libiomp5.so" in fast_libraries(TWO)["LD_PRELOAD"]


def test_what_the_operator_preloads_stays_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/opt/own.so")
    assert fast_libraries(TWO)["LD_PRELOAD"].startswith("/opt/own.so:")


def test_glibc_keeps_memory_where_there_is_no_tcmalloc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_ALLOCATORS", "/nowhere/*.so")
    assert fast_libraries(TWO)["MALLOC_MMAP_MAX_"] == "0"


def test_tcmalloc_is_preloaded_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = tmp_path / "libtcmalloc_minimal.so.4"
    library.touch()
    monkeypatch.setattr(launcher, "_ALLOCATORS", str(tmp_path / "*.so.*"))
    variables = fast_libraries(TWO)
    assert str(library) in variables["LD_PRELOAD"]
    assert "MALLOC_MMAP_MAX_" not in variables


@pytest.mark.parametrize("binding", ["auto", "nobind"])
def test_threads_are_vllms_to_place_where_the_operator_says_so(
    monkeypatch: pytest.MonkeyPatch, binding: str
) -> None:
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", binding)
    assert "OMP_NUM_THREADS" not in fast_libraries(TWO)


@pytest.mark.parametrize(
    ("binding", "threads"), [("0-2", "3"), ("0-1,4", "3"), ("7", "1"), ("0,1,2,3", "4")]
)
def test_ranges_of_processors_are_understood(
    monkeypatch: pytest.MonkeyPatch, binding: str, threads: str
) -> None:
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", binding)
    assert fast_libraries(TWO)["OMP_NUM_THREADS"] == threads


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what vLLM imports
@pytest.mark.slow
def test_vllm_still_has_what_is_replaced_for_a_moment() -> None:
    from vllm.v1.engine import utils

    theirs = utils.get_mp_context
    with launcher.forked_engine():
        context = utils.get_mp_context()
        assert context.get_start_method() == "forkserver"
        assert context.Process is launcher._EngineProcess
    assert utils.get_mp_context is theirs


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_scheduler_is_vllms_own_but_for_what_it_tells() -> None:
    module, _, name = SCHEDULER.rpartition(".")
    scheduler = getattr(__import__(module, fromlist=[name]), name)
    from vllm.v1.core.sched.scheduler import Scheduler

    assert issubclass(scheduler, Scheduler)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_engine_is_told_to_keep_its_model_in_its_process() -> None:
    module, _, name = EXECUTOR.rpartition(".")
    executor = getattr(__import__(module, fromlist=[name]), name)
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    assert issubclass(executor, UniProcExecutor)


ORPHAN = """
import multiprocessing, os, sys, time
from multiprocessing import forkserver
from whisper_service.engine.cpu import launcher

def stay():
    print(os.environ["SHOWN_LATER"], flush=True)
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context("forkserver").set_forkserver_preload([])
    forkserver.ensure_running()
    os.environ["SHOWN_LATER"] = "yes"
    launcher._Context().Process(target=stay).start()
    time.sleep(60)
"""


def test_an_engine_has_its_services_environment_and_ends_with_it(tmp_path: Path) -> None:
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == "yes\n"
        service.kill()
        service.wait()
        # The pipe ends when the last process that holds it does: the engine's too.
        assert service.stdout.read() == ""
