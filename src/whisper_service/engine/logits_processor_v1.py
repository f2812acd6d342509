"""The decoding rules behind vLLM's V1 logits processor interface (CPU, and V1 runners on a GPU)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from whisper_service.engine.decoding_rules import NO_TOKEN, BatchState, DecodingRules
from whisper_service.engine.parameters import RuleParameters, vocabulary_of
from whisper_service.whisper.vocabulary import Vocabulary


@dataclass
class _Request:
    """A row's request; `output` is the engine's own list, which grows as tokens come."""

    rules: RuleParameters
    temperature: float
    output: list[int]
    latest_timestamp: int = NO_TOKEN
    scanned: int = field(default=0)

    def scan(self, vocabulary: Vocabulary) -> None:
        for token in self.output[max(self.scanned, vocabulary.prefix_length) :]:
            if vocabulary.is_timestamp(token):
                self.latest_timestamp = max(self.latest_timestamp, token)
        self.scanned = len(self.output)

    def text_token(self, back: int, prefix: int) -> int:
        """The `back`-th latest token of the text."""
        return self.output[-back] if len(self.output) - prefix >= back else NO_TOKEN


class WhisperLogitsProcessor(LogitsProcessor):  # type: ignore[misc]  # vLLM is not typed
    """One object an engine; it follows the engine's batch row by row."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:  # noqa: ARG002
        self._vocabulary = vocabulary_of(vllm_config.additional_config)
        self._rules = DecodingRules(self._vocabulary, device)
        self._device = device
        self._rows: dict[int, _Request] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Rows removed, added and moved, in the order that the interface prescribes."""
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._rows.pop(row, None)
        for row, params, _, output in batch_update.added:
            self._add(row, params, output)
        for source, target, direction in batch_update.moved:
            self._move(source, target, swap=direction == MoveDirectionality.SWAP)

    def _add(self, row: int, params: SamplingParams, output: list[int]) -> None:
        rules = RuleParameters.from_extra_args(params.extra_args)
        self._put(row, None if rules is None else _Request(rules, params.temperature, output))

    def _move(self, source: int, target: int, *, swap: bool) -> None:
        moved, replaced = self._rows.pop(source, None), self._rows.pop(target, None)
        self._put(target, moved)
        if swap:
            self._put(source, replaced)

    def _put(self, row: int, request: _Request | None) -> None:
        if request is None:
            self._rows.pop(row, None)
        else:
            self._rows[row] = request

    def apply(self, logits: Tensor) -> Tensor:
        """float32[rows, vocabulary] under the rules."""
        if not self._rows:
            return logits
        return self._rules.apply(logits, self._state(len(logits)))

    def _state(self, rows: int) -> BatchState:
        requests = [self._rows.get(row) for row in range(rows)]
        prefix = self._vocabulary.prefix_length
        for request in requests:
            if request is not None:
                request.scan(self._vocabulary)

        def tensor(values: Iterable[int]) -> Tensor:
            return torch.tensor(list(values), dtype=torch.int64, device=self._device)

        return BatchState(
            position=[len(request.output) if request else 0 for request in requests],
            language=[request.rules.language if request else NO_TOKEN for request in requests],
            task=[request.rules.task if request else NO_TOKEN for request in requests],
            sampled=[row for row, one in enumerate(requests) if one and one.temperature > 0],
            exempt=[row for row, request in enumerate(requests) if request is None],
            last=tensor(one.text_token(1, prefix) if one else NO_TOKEN for one in requests),
            before_last=tensor(one.text_token(2, prefix) if one else NO_TOKEN for one in requests),
            latest_timestamp=tensor(one.latest_timestamp if one else NO_TOKEN for one in requests),
            earliest_end=tensor(one.rules.earliest_end if one else NO_TOKEN for one in requests),
            earliest_open_end=tensor(
                one.rules.earliest_open_end if one else NO_TOKEN for one in requests
            ),
        )
