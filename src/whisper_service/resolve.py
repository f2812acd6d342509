"""What the settings and this machine make of the engine: device, profile, launcher, cache sizes.

A part of the composition root (`build` is the other): it alone imports `engine.cpu`. It is imported
before anything heavy, since the CPU's launcher starts processes as early as it can.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from whisper_service.engine.cpu.launcher import ForkedLauncher
from whisper_service.engine.devices import Device, detect_device
from whisper_service.engine.launcher import Launcher
from whisper_service.engine.profiles import Profile, choose, with_engines, with_kv_cache
from whisper_service.settings import Settings

if TYPE_CHECKING:
    from whisper_service.checkpoints.checkpoint import Checkpoint
    from whisper_service.engine.engine import WhisperEngine

logger = logging.getLogger(__name__)

_ENCODER_CACHE_WINDOWS = 64  # at most, of each engine; 250 MB with large-v3


@dataclass(frozen=True)
class ResolvedEngine:
    """An engine that has not been made yet.

    name: of the model, as the settings have it; model: the folder or hub id that vLLM loads.
    overrides: the operator's engine arguments.
    encoder_cache_windows: whose encoder outputs each engine keeps for a retry.
    """

    name: str
    model: str
    checkpoint: Checkpoint
    profile: Profile
    launcher: Launcher
    overrides: Mapping[str, Any] = field(default_factory=dict)
    encoder_cache_windows: int = 0

    def engine(self) -> WhisperEngine:
        from whisper_service.engine.engine import WhisperEngine

        return WhisperEngine(
            self.model,
            self.checkpoint.vocabulary,
            self.profile,
            overrides=self.overrides,
            launcher=self.launcher,
            encoder_cache_windows=self.encoder_cache_windows,
            alignment_heads=self.checkpoint.alignment_heads,
        )


def resolve_engine(
    settings: Settings, overrides: Mapping[str, Any] | None = None, model: str | None = None
) -> ResolvedEngine:
    """Everything that is known before the engine is started.

    Args:
        settings: the service's.
        overrides: engine arguments, in place of the settings' own.
        model: a folder, in place of the settings' model.

    Raises:
        UnsuitableDeviceError: the profile, or the number of engines, does not fit this machine.
        EmbeddedModelError: the embedded model cannot be had.
        UnsuitableCheckpointError: the model is no Whisper.
    """
    from whisper_service.checkpoints.checkpoint import read_checkpoint
    from whisper_service.checkpoints.resolve import resolve_model

    overrides = settings.engine_args if overrides is None else overrides
    profile = resolve_profile(settings, detect_device())
    name = model or settings.model or profile.default_model
    logger.info("profile %s, model %s", profile.name, name)
    path = model or resolve_model(name, settings.cache_dir)
    checkpoint = read_checkpoint(path)
    profile = with_kv_cache(profile, checkpoint.kv_values, overrides)
    return ResolvedEngine(
        name,
        path,
        checkpoint,
        profile,
        choose_launcher(profile, settings, overrides),
        overrides,
        _encoder_cache_windows(profile, settings),
    )


def resolve_profile(settings: Settings, device: Device) -> Profile:
    """The profile with all that the settings want otherwise but the operator's engine arguments.

    Raises:
        UnsuitableDeviceError: it does not fit the device.
    """
    profile = with_engines(choose(settings.profile, device), device, settings.data_parallel_size)
    arguments = dict(profile.engine_args)
    if settings.max_windows_in_flight is not None:
        arguments["max_num_seqs"] = settings.max_windows_in_flight
    if settings.traces_endpoint:
        arguments["otlp_traces_endpoint"] = settings.traces_endpoint
    return replace(profile, engine_args=arguments)


def choose_launcher(
    profile: Profile, settings: Settings, overrides: Mapping[str, Any] | None = None
) -> Launcher:
    """What starts the engine's processes on the profile's device."""
    overrides = settings.engine_args if overrides is None else overrides
    if profile.name == "cpu":
        return ForkedLauncher(profile, overrides, own_kernels=settings.cpu_kernels)
    return Launcher(profile, overrides)


def start_early(settings: Settings) -> None:
    """Starts what the engine will need, before the service's own modules are imported.

    Raises:
        UnsuitableDeviceError: the profile does not fit this machine.
    """
    choose_launcher(resolve_profile(settings, detect_device()), settings).prepare()


def _encoder_cache_windows(profile: Profile, settings: Settings) -> int:
    """A retry comes soon: about as many other windows are encoded before it as are decoded."""
    if settings.encoder_cache_windows is not None:
        return settings.encoder_cache_windows
    return min(int(profile.engine_args["max_num_seqs"]), _ENCODER_CACHE_WINDOWS)
