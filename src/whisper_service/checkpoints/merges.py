"""Restores merges that a checkpoint's byte-level BPE tokenizer has lost."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, TypeAlias

logger = logging.getLogger(__name__)

Pair: TypeAlias = tuple[str, ...]
"""Two tokens that become one, in the symbols of GPT-2's byte-level alphabet."""


def with_missing_merges(tokenizer: str) -> str:
    """A tokenizer.json in which every text token can be produced; as it was, if nothing is missing.

    A token of two or more symbols that is the product of no merge is never produced, nor is any
    token that is built on it. The tokenizer.json that is published with CTranslate2's multilingual
    Whisper models lacks its first merge, `Ġ t`: readers of merges.txt skip a header line there,
    whether the file has one or not. So " the" and " to" became two tokens each.

    The vocabulary determines the merges. In GPT-2's and Whisper's, the ids of the products are in
    the order of the merges, so a token's id is its merge's rank, as in tiktoken. The merge of a
    token is found by applying the merges of lower rank to its symbols: two parts remain. Tokens
    are restored in the order of their ids, since a merge may need another one that was missing.

    Unchanged are tokenizers of another kind, those whose merges are in another order, tokens from
    the first added one on, and tokens of which more than two parts remain.

    Args:
        tokenizer: the text of a tokenizer.json.

    Raises:
        ValueError: it is not JSON.
    """
    content = json.loads(tokenizer)
    if not _is_plain_bpe(content):
        return tokenizer
    vocabulary: dict[str, int] = content["model"]["vocab"]
    ranks = {pair: vocabulary.get("".join(pair), -1) for pair in _pairs(content)}
    if list(ranks.values()) != sorted(ranks.values()):
        return tokenizer
    found = _missing(vocabulary, ranks, _first_added(content))
    if not found:
        return tokenizer
    logger.info("the tokenizer lacks %d of its merges: restored %s", len(found), found[:5])
    ranks |= {pair: vocabulary["".join(pair)] for pair in found}
    content["model"]["merges"] = sorted(ranks, key=ranks.__getitem__)
    return json.dumps(content, ensure_ascii=False)


def _is_plain_bpe(content: Any) -> bool:
    model = content.get("model") if isinstance(content, dict) else None
    return (
        isinstance(model, dict)
        and model.get("type") == "BPE"
        and not model.get("continuing_subword_prefix")
        and not model.get("end_of_word_suffix")
        and not model.get("ignore_merges")
    )


def _pairs(content: dict[str, Any]) -> list[Pair]:
    """Older files have a merge as "a b", newer ones as ["a", "b"]."""
    merges = content["model"]["merges"]
    return [tuple(each.split(" ") if isinstance(each, str) else each) for each in merges]


def _first_added(content: dict[str, Any]) -> int:
    """The id of the first added token: those from it on are not made of merges."""
    added = [int(token["id"]) for token in content.get("added_tokens", ())]
    return min(added, default=sys.maxsize)


def _missing(vocabulary: Mapping[str, int], ranks: Mapping[Pair, int], stop: int) -> list[Pair]:
    """The merges of the tokens below `stop` that no merge produces, by rank."""
    products = {"".join(pair) for pair in ranks}
    unreachable = [
        (token_id, token)
        for token, token_id in vocabulary.items()
        if len(token) > 1 and token_id < stop and token not in products
    ]
    known = dict(ranks)
    found: list[Pair] = []
    for token_id, token in sorted(unreachable):
        match apply_merges(token, known, token_id):
            case [left, right] if left in vocabulary and right in vocabulary:
                found.append((left, right))
                known[left, right] = token_id
    return found


def apply_merges(symbols: str, ranks: Mapping[Pair, int], stop: int) -> list[str]:
    """What byte-pair encoding makes of `symbols` with the merges of a rank below `stop`."""
    parts = list(symbols)
    while len(parts) > 1:
        pairs = enumerate(pairwise(parts))
        rank, first = min((ranks.get(pair, stop), index) for index, pair in pairs)
        if rank >= stop:
            break
        parts[first : first + 2] = ["".join(parts[first : first + 2])]
    return parts
