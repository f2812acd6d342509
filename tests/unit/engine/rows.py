"""Rows as the decoding rules see them, and whether the slow reader sees them alike."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from whisper_service.engine.decoding_rules import NO_TOKEN, BatchState, Carriers
from whisper_service.whisper.vocabulary import Vocabulary

from .whispers_rules import Row, is_close_call, read_slowly


def state_of(vocabulary: Vocabulary, rows: list[Row]) -> BatchState:
    texts = [row.generated[vocabulary.prefix_length :] for row in rows]
    timestamps = [[t for t in text if vocabulary.is_timestamp(t)] for text in texts]
    return BatchState(
        position=[len(row.generated) for row in rows],
        language=[row.language for row in rows],
        task=[row.task for row in rows],
        sampled=[index for index, row in enumerate(rows) if row.ruled and row.temperature > 0],
        exempt=[index for index, row in enumerate(rows) if not row.ruled],
        last=torch.tensor([text[-1] if text else NO_TOKEN for text in texts]),
        before_last=torch.tensor([text[-2] if len(text) > 1 else NO_TOKEN for text in texts]),
        latest_timestamp=torch.tensor([max(each, default=NO_TOKEN) for each in timestamps]),
        earliest_end=torch.tensor([row.closed_end for row in rows]),
        earliest_open_end=torch.tensor([row.open_end for row in rows]),
    )


def carried(vocabulary: Vocabulary, row: Row) -> set[int]:
    """Tokens whose logits are a message to the caller, in this row."""
    carriers = Carriers.of(vocabulary)
    first = {carriers.no_speech, carriers.raw_total} if not row.generated else set()
    languages = set(vocabulary.languages.values()) if not row.generated else set()
    total = {carriers.allowed_total} if row.temperature > 0 or languages else set()
    return first | languages | total


def assert_read_alike(vocabulary: Vocabulary, raw: Tensor, ruled: Tensor, row: Row) -> None:
    if not row.ruled:
        assert torch.equal(ruled, raw)
        return
    if is_close_call(vocabulary, raw.tolist(), row):
        return
    allowed = read_slowly(vocabulary, raw.tolist(), row)
    expected = torch.full_like(raw, -math.inf)
    expected[[*allowed]] = torch.tensor([*allowed.values()])
    messages = carried(vocabulary, row) - set(allowed)
    expected[[*messages]] = ruled[[*messages]]
    torch.testing.assert_close(
        ruled, expected, atol=1e-4, rtol=0, msg=lambda text: f"{row}: {text}"
    )
