"""vLLM's two model runners, as far as a logits processor can see them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from whisper_service.engine.parameters import RuleParameters, vocabulary_config
from whisper_service.whisper.vocabulary import Vocabulary

from .whispers_rules import Row

SLOTS = 6
MAX_LENGTH = 64


@dataclass(eq=False)
class Request:
    """A request; `rules` is None for one that is not this service's."""

    rules: RuleParameters | None
    temperature: float
    prompt: list[int]
    output: list[int] = field(default_factory=list)

    @property
    def params(self) -> Any:
        extra = self.rules.as_extra_args() if self.rules else None
        return SimpleNamespace(extra_args=extra, temperature=self.temperature)

    @property
    def row(self) -> Row:
        output = tuple(self.output)
        if self.rules is None:
            return Row(output, ruled=False)
        return Row(
            output,
            self.rules.language,
            self.rules.task,
            self.temperature,
            closed_end=self.rules.earliest_end,
            open_end=self.rules.earliest_open_end,
        )


class Runner(Protocol):
    """Holds a batch; its rows come in an order of its own."""

    def add(self, request: Request) -> None: ...

    def remove(self, request: Request) -> None: ...

    def shuffle(self, chance: random.Random) -> None: ...

    def rows(self) -> list[Request]:
        """The batch of the coming step, row by row."""
        ...

    def rule(self, logits: Tensor) -> Tensor: ...

    def append(self, request: Request, token: int) -> None:
        """What the sampler drew."""
        ...


def engine_config(vocabulary: Vocabulary) -> Any:
    return SimpleNamespace(additional_config=vocabulary_config(vocabulary))


class V1Runner:
    """The persistent batch of vLLM's V1 runner: `vllm.v1.worker.gpu_input_batch.InputBatch`.

    Requests that leave make holes; those that come fill them, lowest first, and the last rows
    slide into what is left. Then rows may be swapped.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        from vllm.v1.sample.logits_processor import BatchUpdateBuilder

        from whisper_service.engine.logits_processor_v1 import WhisperLogitsProcessor

        device = torch.device("cpu")
        self._processor = WhisperLogitsProcessor(engine_config(vocabulary), device, False)  # noqa: FBT003
        self._updates = BatchUpdateBuilder()
        self._batch: list[Request | None] = []
        self._coming: list[Request] = []

    def add(self, request: Request) -> None:
        self._coming.append(request)

    def remove(self, request: Request) -> None:
        if request in self._coming:
            self._coming.remove(request)
            return
        index = self._batch.index(request)
        self._batch[index] = None
        self._updates.removed_append(index)

    def shuffle(self, chance: random.Random) -> None:
        from vllm.v1.sample.logits_processor import MoveDirectionality

        self._settle()
        if len(self._batch) > 1:
            one, other = chance.sample(range(len(self._batch)), 2)
            batch = self._batch
            batch[one], batch[other] = batch[other], batch[one]
            self._updates.moved.append((one, other, MoveDirectionality.SWAP))
        self._tell()

    def _settle(self) -> None:
        from vllm.v1.sample.logits_processor import MoveDirectionality

        for request in self._coming:
            index = self._updates.pop_removed()
            if index is None:
                index = len(self._batch)
                self._batch.append(None)
            self._batch[index] = request
            self._updates.added.append((index, request.params, request.prompt, request.output))
        self._coming.clear()
        while None in self._batch:
            if self._batch[-1] is None:
                self._batch.pop()
                continue
            hole = self._batch.index(None)
            assert self._updates.pop_removed() == hole
            last = len(self._batch) - 1
            self._batch[hole] = self._batch.pop()
            self._updates.moved.append((last, hole, MoveDirectionality.UNIDIRECTIONAL))

    def _tell(self) -> None:
        self._processor.update_state(self._updates.get_and_reset(len(self._batch)))

    def rows(self) -> list[Request]:
        self._settle()
        self._tell()
        return [request for request in self._batch if request is not None]

    def rule(self, logits: Tensor) -> Tensor:
        return self._processor.apply(logits)

    def append(self, request: Request, token: int) -> None:
        request.output.append(token)


class V2Runner:
    """The slots of vLLM's Model Runner V2: a request keeps its slot, rows change at each step."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcRequestState

        from whisper_service.engine.logits_processor_v2 import WhisperLogitsProcessor

        self._tokens = torch.full(
            (SLOTS, MAX_LENGTH), 7, dtype=torch.int32
        )  # what was there before
        self._prompt_len = torch.zeros(SLOTS, dtype=torch.int32)
        self._total_len = torch.zeros(SLOTS, dtype=torch.int32)
        states = LogitsProcRequestState(
            device=torch.device("cpu"),
            max_num_reqs=SLOTS,
            vocab_size=vocabulary.size,
            all_token_ids=SimpleNamespace(gpu=self._tokens),
            prompt_len=SimpleNamespace(gpu=self._prompt_len, np=self._prompt_len.numpy()),
            prefill_len=SimpleNamespace(gpu=self._prompt_len, np=self._prompt_len.numpy()),
            total_len=SimpleNamespace(gpu=self._total_len),
        )
        self._processor = WhisperLogitsProcessor(engine_config(vocabulary), states)
        self._slots: dict[Request, int] = {}
        self._free = list(range(SLOTS))
        self._order: list[Request] = []

    def add(self, request: Request) -> None:
        slot = self._free.pop()
        self._slots[request] = slot
        self._order.append(request)
        fed = request.prompt + request.output  # not only the prompt after a preemption
        self._tokens[slot, : len(fed)] = torch.tensor(fed, dtype=torch.int32)
        self._prompt_len[slot] = len(request.prompt)
        self._total_len[slot] = len(fed)
        touched = self._processor.add_request(slot, request.params)
        assert touched == (request.rules is not None)
        self._processor.apply_staged_writes()

    def remove(self, request: Request) -> None:
        self._free.append(self._slots.pop(request))
        self._order.remove(request)

    def shuffle(self, chance: random.Random) -> None:
        chance.shuffle(self._order)

    def rows(self) -> list[Request]:
        return list(self._order)

    def rule(self, logits: Tensor) -> Tensor:
        from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext

        slots = np.array([self._slots[request] for request in self._order], dtype=np.intp)
        lengths = self._total_len.numpy()[slots]
        mapping = torch.tensor(slots)
        context = LogitsContext(
            expanded_idx_mapping=mapping,
            idx_mapping=mapping,
            idx_mapping_np=slots,
            expanded_local_pos=torch.zeros(len(slots), dtype=torch.int32),
            input_ids=self._tokens[mapping, torch.tensor(lengths).long() - 1],
            pos=torch.tensor(lengths).long() - 1,
            # A captured graph has room for more requests than there are: zeros follow.
            seq_lens_upper_bound_np=np.concatenate([lengths, np.zeros(2, np.int32)]),
        )
        return self._processor.apply(logits, context)

    def append(self, request: Request, token: int) -> None:
        slot = self._slots[request]
        self._tokens[slot, self._total_len[slot]] = token
        self._total_len[slot] += 1
        request.output.append(token)
