"""The encoder's outputs by their windows' names, so that retries and alignment skip the encoder.

vLLM gives encoder-decoder models no encoder cache.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor

from whisper_service.engine.parameters import WindowName

Encode = Callable[[list[int]], Sequence[Tensor]]
"""The encoder's outputs for these of a batch's windows, in their order."""


class EncoderCache:
    """Holds outputs of the latest windows, and of those that wait to be aligned.

    Args:
        recent: windows that are held for a retry.
        awaiting: windows that are held until they are aligned, and let go of. Most are among the
            recent ones as well, and share their memory.
    """

    def __init__(self, recent: int, awaiting: int) -> None:
        self._most_recent = recent
        self._most_awaiting = awaiting
        self._recent: OrderedDict[str, Tensor] = OrderedDict()
        self._awaiting: OrderedDict[str, Tensor] = OrderedDict()
        self.encoded = 0  # windows that the encoder ran for

    def outputs(self, names: Sequence[WindowName | None], encode: Encode) -> list[Tensor]:
        """float[positions, width] for each window of a batch; None: a window without a name."""
        # A window without a name is only itself: its place in the batch identifies it.
        identities = [name.key if name else place for place, name in enumerate(names)]
        known: dict[str | int, Tensor] = {}
        fresh: dict[str | int, int] = {}  # identity → its first place in the batch
        for place, identity in enumerate(identities):
            kept = self.get(identity) if isinstance(identity, str) else None
            if kept is not None:
                known[identity] = kept
            else:
                fresh.setdefault(identity, place)
        if fresh:
            self.encoded += len(fresh)
            known |= zip(fresh, encode([*fresh.values()]), strict=True)
        for name in filter(None, names):
            self._keep(name, known[name.key])
        return [known[identity] for identity in identities]

    def get(self, key: str) -> Tensor | None:
        """float[positions, width]; None where it has made room for others, or never came."""
        kept = self._awaiting.get(key)
        return self._recent.get(key) if kept is None else kept

    def let_go(self, key: str) -> None:
        """The window has been aligned."""
        self._awaiting.pop(key, None)

    @property
    def windows(self) -> int:
        """Whose outputs are held, for whatever reason."""
        return len({*self._recent, *self._awaiting})

    def _keep(self, name: WindowName, output: Tensor) -> None:
        wanted = [(self._recent, self._most_recent)]
        if name.is_aligned_later:
            wanted.append((self._awaiting, self._most_awaiting))
        wanted = [(kept, most) for kept, most in wanted if most]
        if not wanted:
            return
        held = self.get(name.key)
        if held is None:
            held = output.clone()  # a slice would keep its whole batch alive
        for kept, most in wanted:
            kept[name.key] = held
            kept.move_to_end(name.key)
            while len(kept) > most:
                kept.popitem(last=False)
