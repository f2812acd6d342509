"""Silero VAD's network, over many frames at once.

The package's network takes a frame of 32 ms at a time. All of it but its LSTM looks at one frame
only: that part is called here once for all frames, and the LSTM goes over their sequence. PyTorch
takes a third of the time that ONNX Runtime does for the same network. The network begins with a
convolution that is a short-time Fourier transform, which is computed as such: a fifth of the time.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONTEXT_SAMPLES = 64  # the end of the frame before, which the network wants to see again
_STEP, _WINDOW = 128, 256  # samples of the transform

State = Any  # of the LSTM; None: before the first frame


class SileroNetwork:
    """Loaded once; safe to use from several threads at the same time. Each call uses one."""

    def __init__(self) -> None:
        import torch

        # For all of this process: the processors are the engine's.
        torch.set_num_threads(1)
        with torch.inference_mode(), warnings.catch_warnings():
            # The package offers its present weights in no other form that PyTorch reads.
            warnings.simplefilter("ignore", DeprecationWarning)
            load: Any = torch.jit.load
            loaded = load(str(model_path()), map_location="cpu").eval()
            self._network = loaded._model  # noqa: SLF001  # the one for 16 kHz
            weights = self._network.state_dict()
            cell = {name: weights[f"decoder.rnn.{name}"] for name in _CELL}
            self._lstm = torch.nn.LSTM(cell["weight_hh"].shape[1], cell["weight_hh"].shape[1])
            self._lstm.load_state_dict({f"{name}_l0": weight for name, weight in cell.items()})
            self._weight = weights["decoder.decoder.2.weight"].flatten()
            self._bias = weights["decoder.decoder.2.bias"]
            self._hann = torch.hann_window(_WINDOW)

    def __call__(
        self, frames: NDArray[np.float32], state: State
    ) -> tuple[NDArray[np.float32], State]:
        """How likely each of consecutive frames is speech, and the state after them.

        Args:
            frames: float32[n, 64 + 512], 16 kHz, each with the end of the one before.
            state: that the call for the frames before returned.
        """
        import torch

        with torch.inference_mode():
            padded = torch.nn.functional.pad(
                torch.from_numpy(frames), (0, CONTEXT_SAMPLES), mode="reflect"
            )
            spectra = torch.fft.rfft(padded.unfold(-1, _WINDOW, _STEP) * self._hann).abs()
            encoded = self._network.encoder(spectra.transpose(1, 2))
            # From [frames, features, 1] to [sequence, batch, features].
            hidden, state = self._lstm(encoded.transpose(1, 2), state)
            probabilities = torch.sigmoid(hidden[:, 0].relu() @ self._weight + self._bias)
        found: NDArray[np.float32] = probabilities.numpy()
        return found, state


_CELL = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def model_path() -> Path:
    """Where the installed package keeps the network; importing it would load that as well."""
    package = find_spec("silero_vad")
    if package is None or not package.submodule_search_locations:
        raise RuntimeError("the package silero-vad, which carries the speech model, is missing")
    path = Path(package.submodule_search_locations[0]) / "data" / "silero_vad.jit"
    if not path.is_file():
        raise RuntimeError(f"silero-vad 6.2.3 or newer is needed: {path} is missing")
    return path
