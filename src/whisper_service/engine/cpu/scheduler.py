"""A scheduler that tells of a text once, when it is done, instead of once for each token.

vLLM's scheduler sends every request's newest token to the service's process in every step, which
decodes the message and appends it there, also for a request that wants nothing but its final
output. With sixteen windows in flight that takes that process three milliseconds a step, on a
processor that the engine computes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from vllm.sampling_params import RequestOutputKind
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.outputs import LogprobsLists

_STATS_SECONDS = 0.25  # between two messages that have nothing but the scheduler's figures


class FinalOutputScheduler(Scheduler):  # type: ignore[misc]  # vLLM is not typed
    """vLLM's own, which keeps back what nobody waits for.

    The first output of a request goes out as it comes: it starts vLLM's clocks.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._held: dict[str, list[Any]] = {}  # the outputs kept back, of each request begun
        self._told = 0.0

    def update_from_output(self, *arguments: Any, **options: Any) -> dict[int, Any]:
        """The outputs of a step for each of the engine's clients, without those kept back."""
        messages: dict[int, Any] = super().update_from_output(*arguments, **options)
        for message in messages.values():
            message.outputs = [one for one in map(self._released, message.outputs) if one]
        for request in self._held.keys() - self.requests.keys():
            del self._held[request]  # aborted
        return self._worth_sending(messages)

    def _released(self, output: Any) -> Any:
        """The request's output so far, or None where it is kept back."""
        name = output.request_id
        if output.finished:
            return _joined([*self._held.pop(name, ()), output])
        if name not in self._held:
            if self._wants_only_the_end(name):
                self._held[name] = []
            return output
        self._held[name].append(output)
        return None

    def _wants_only_the_end(self, name: str) -> bool:
        parameters = self.requests[name].sampling_params
        return bool(parameters and parameters.output_kind == RequestOutputKind.FINAL_ONLY)

    def _worth_sending(self, messages: Mapping[int, Any]) -> dict[int, Any]:
        sent = {
            client: message
            for client, message in messages.items()
            if message.outputs or message.finished_requests
        }
        if sent or time.monotonic() - self._told >= _STATS_SECONDS:
            self._told = time.monotonic()
            return dict(messages)
        return {}


def _joined(outputs: list[Any]) -> Any:
    """One output for several of the same request, in their order; the last is its end."""
    last = outputs[-1]
    if len(outputs) == 1:
        return last
    last.new_token_ids = [token for one in outputs for token in one.new_token_ids]
    last.events = [event for one in outputs for event in one.events or ()] or None
    logprobs = [one.new_logprobs for one in outputs if one.new_logprobs is not None]
    if logprobs:
        last.new_logprobs = _joined_logprobs(logprobs)
    return last


def _joined_logprobs(parts: Iterable[LogprobsLists]) -> LogprobsLists:
    tokens, values, ranks, _ = zip(*parts, strict=True)
    # A request's own columns come first; others beside it may have asked for more.
    columns = min(array.shape[1] for array in tokens)
    return LogprobsLists(
        np.concatenate([array[:, :columns] for array in tokens]),
        np.concatenate([array[:, :columns] for array in values]),
        np.concatenate(ranks),
    )
