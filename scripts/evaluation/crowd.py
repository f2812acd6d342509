"""Many files at once, each with its own options: every answer as when it comes alone."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from evaluation.corpus import Clip
from evaluation.report import Goal, Section
from evaluation.systems import Service

FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
PROMPTS = ("", "", "Hello, and welcome.")


@dataclass(frozen=True, eq=False)
class Request:
    clip: Clip
    fields: dict[str, str]

    @property
    def name(self) -> str:
        options = ", ".join(f"{key}={value}" for key, value in self.fields.items())
        return f"{self.clip.name} ({options})"


def crowd(service: Service, clips: Sequence[Clip], count: int, seed: int) -> Section:
    requests = mixed_requests(clips, count, random.Random(seed))
    alone = [
        comparable(service.post(request.clip.data, request.fields), request.fields)
        for request in requests
    ]
    together = asyncio.run(_together(service, requests))
    rows: list[tuple[object, ...]] = []
    greedy = 0
    for request, one, other in zip(requests, alone, together, strict=True):
        if one == other:
            continue
        sampled = _is_sampled(service, request)
        greedy += not sampled
        kind = "sampled" if sampled else "greedy"
        rows.append((request.name, kind, json.dumps(one), json.dumps(other)))
    notes = [
        f"{count - len(rows)} of {count} answers are those that the requests get alone.",
        "sampled: a text that fell back to a temperature above 0, and so may be another one.",
    ]
    return Section(
        f"{count} files at once: answers that differ",
        ("request", "kind", "alone", "at once"),
        rows,
        {"requests": [request.name for request in requests], "differing": rows},
        [Goal(f"greedy answers that differ among {count} at once", greedy, 0)],
        notes,
    )


def mixed_requests(clips: Sequence[Clip], count: int, rng: random.Random) -> list[Request]:
    """So many requests over all the clips in turn, with options that do not follow the clips."""
    requests = []
    deck: list[Clip] = []
    for index in range(count):
        deck = deck or rng.sample(clips, len(clips))
        clip = deck.pop()
        fields = {"response_format": FORMATS[index % len(FORMATS)]}
        if rng.random() < 0.5:
            fields["language"] = clip.language
        if prompt := rng.choice(PROMPTS):
            fields["prompt"] = prompt
        requests.append(Request(clip, fields))
    return requests


def comparable(response: httpx.Response, fields: dict[str, str]) -> Any:
    """What must be equal: the words, the times and the language; no probability's last digit."""
    if response.status_code != httpx.codes.OK:
        return f"{response.status_code}: {response.text}"
    if fields["response_format"] == "json":
        return response.json()["text"]
    if fields["response_format"] == "verbose_json":
        body = response.json()
        pieces = [[s["start"], s["end"], s["text"]] for s in body["segments"]]
        return [body["language"], body["text"], pieces]
    return response.text


async def _together(service: Service, requests: Sequence[Request]) -> list[Any]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        timeout=service.timeout, headers=service.headers, limits=limits
    ) as client:
        responses = await asyncio.gather(
            *(service.post_beside_others(client, r.clip.data, r.fields) for r in requests)
        )
    return [comparable(r, q.fields) for r, q in zip(responses, requests, strict=True)]


def _is_sampled(service: Service, request: Request) -> bool:
    """Asked again alone, for the only format that tells the temperatures."""
    fields = request.fields | {"response_format": "verbose_json"}
    segments = service.post(request.clip.data, fields).json()["segments"]
    return any(segment["temperature"] > 0 for segment in segments)
