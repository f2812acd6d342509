from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from whisper_service.engine import launch
from whisper_service.engine.launch import (
    IN_PROCESS,
    engine_environment,
    fast_libraries,
    is_one_process,
)
from whisper_service.engine.profiles import Device, choose

CPU, GPU = choose("auto", Device(None)), choose("auto", Device((9, 0)))
TWO = {"VLLM_CPU_OMP_THREADS_BIND": "0,1"}


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD", "VLLM_CPU_OMP_THREADS_BIND"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("profile", "overrides", "one"),
    [
        (CPU, {}, True),
        (CPU, {"max_num_seqs": 4}, True),
        (CPU, {"data_parallel_size": 2}, False),
        (CPU, {"tensor_parallel_size": 2}, False),
        (CPU, {"distributed_executor_backend": "mp"}, False),
        (GPU, {}, False),
    ],
)
def test_a_cpus_one_engine_computes_in_one_process(
    profile: Any, overrides: dict[str, Any], one: bool
) -> None:
    assert is_one_process(profile, overrides) is one


def test_nothing_is_compiled_where_the_model_is_not() -> None:
    assert engine_environment(CPU, {})["TORCH_COMPILE_DISABLE"] == "1"
    assert "TORCH_COMPILE_DISABLE" not in engine_environment(CPU, {"enforce_eager": False})
    assert "TORCH_COMPILE_DISABLE" not in engine_environment(GPU, {"enforce_eager": True})


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
    monkeypatch.setattr(launch, "_ALLOCATORS", "/nowhere/*.so")
    assert fast_libraries(TWO)["MALLOC_MMAP_MAX_"] == "0"


def test_tcmalloc_is_preloaded_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = tmp_path / "libtcmalloc_minimal.so.4"
    library.touch()
    monkeypatch.setattr(launch, "_ALLOCATORS", str(tmp_path / "*.so.*"))
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
    with launch.forked_engine():
        context = utils.get_mp_context()
        assert context.get_start_method() == "forkserver"
        assert context.Process is launch._EngineProcess
    assert utils.get_mp_context is theirs


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_engine_is_told_to_keep_its_model_in_its_process() -> None:
    module, _, name = IN_PROCESS.rpartition(".")
    executor = getattr(__import__(module, fromlist=[name]), name)
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    assert issubclass(executor, UniProcExecutor)


ORPHAN = """
import multiprocessing, os, sys, time
from multiprocessing import forkserver
from whisper_service.engine import launch

def stay():
    print(os.environ["SHOWN_LATER"], flush=True)
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context("forkserver").set_forkserver_preload([])
    forkserver.ensure_running()
    os.environ["SHOWN_LATER"] = "yes"
    launch._Context().Process(target=stay).start()
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
