"""The decoding rules behind the logits processor interface of vLLM's Model Runner V2 (GPU).

Tokens stay on the device here: nothing waits for the host.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.v1.worker.gpu.sample.logits_processor import (
    LogitsContext,
    LogitsProcessor,
    LogitsProcRequestState,
)

from whisper_service.engine.decoding_rules import NO_TOKEN, BatchState, DecodingRules
from whisper_service.engine.parameters import RuleParameters, vocabulary_of
from whisper_service.whisper.prompt import MAX_NEW_TOKENS


class WhisperLogitsProcessor(LogitsProcessor):  # type: ignore[misc]  # vLLM is not typed
    """One object an engine; requests are known by their slot."""

    def __init__(self, vllm_config: Any, req_states: LogitsProcRequestState) -> None:
        self._vocabulary = vocabulary_of(vllm_config.additional_config)
        self._rules = DecodingRules(self._vocabulary, req_states.device)
        self._states = req_states
        self._slots: dict[int, tuple[RuleParameters, float]] = {}
        # On the device too, written once a request: a copy in every step would wait for it.
        self._ends = torch.full(
            (req_states.max_num_reqs, 2), NO_TOKEN, dtype=torch.int64, device=req_states.device
        )

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        rules = RuleParameters.from_extra_args(sampling_params.extra_args)
        if rules is None:
            self._slots.pop(req_idx, None)
            return False
        self._slots[req_idx] = (rules, sampling_params.temperature)
        self._ends[req_idx] = torch.tensor([rules.earliest_end, rules.earliest_open_end])
        return True

    def apply(self, logits: Tensor, ctx: LogitsContext) -> Tensor:
        """float32[rows, vocabulary] under the rules; a request owns one row."""
        slots = [int(slot) for slot in ctx.idx_mapping_np]
        known = [self._slots.get(slot) for slot in slots]
        prompt = self._states.prompt_len.np[ctx.idx_mapping_np]
        # A captured CUDA graph may have more rows than there are requests: zeros follow.
        total = ctx.seq_lens_upper_bound_np[: len(slots)]
        position = (total - prompt).astype(np.int64).tolist()
        last, before_last, latest_timestamp = self._history(ctx.expanded_idx_mapping)
        earliest_end, earliest_open_end = self._ends[ctx.expanded_idx_mapping.long()].unbind(dim=-1)
        state = BatchState(
            position=position,
            language=[one[0].language if one else NO_TOKEN for one in known],
            task=[one[0].task if one else NO_TOKEN for one in known],
            sampled=[row for row, one in enumerate(known) if one and one[1] > 0],
            exempt=[row for row, one in enumerate(known) if one is None],
            last=last,
            before_last=before_last,
            latest_timestamp=latest_timestamp,
            earliest_end=earliest_end,
            earliest_open_end=earliest_open_end,
        )
        return self._rules.apply(logits, state)

    def _history(self, slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The latest two text tokens and the latest timestamp of each row, int64[rows] each."""
        slots = slots.long()
        tokens = self._states.all_token_ids.gpu
        total = self._states.total_len.gpu[slots].long()
        begin = self._states.prompt_len.gpu[slots].long() + self._vocabulary.prefix_length
        # The text, from the latest token backwards.
        index = total[:, None] - 1 - torch.arange(MAX_NEW_TOKENS, device=tokens.device)
        text = tokens[slots[:, None], index.clamp(min=0)].long()
        text = text.masked_fill(index < begin[:, None], NO_TOKEN)
        timestamps = text.masked_fill(text < self._vocabulary.timestamp_begin, NO_TOKEN)
        return text[:, 0], text[:, 1], timestamps.amax(dim=-1)
