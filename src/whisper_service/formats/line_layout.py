"""Text into blocks of short lines: what a subtitle shows at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

from whisper_service.formats.line_breaks import SEPARATORS, BreakQuality, char_width, find_breaks

# What looks bad, in the unit of the columns that a line leaves empty, squared: so 900 is a line
# that is 30 columns short. Squares make lines of about equal length cheapest, and few lines cheaper
# than many (Knuth and Plass, "Breaking Paragraphs into Lines", 1981).
_LINE_END = {
    BreakQuality.SENTENCE: 0,
    BreakQuality.CLAUSE: 30,
    BreakQuality.WORD: 90,
    BreakQuality.INSIDE: 200,
    BreakQuality.EMERGENCY: 1500,
}
_BLOCK_END = {  # on top, where the next line is in another block
    BreakQuality.SENTENCE: 300,
    BreakQuality.CLAUSE: 450,
    BreakQuality.WORD: 700,
    BreakQuality.INSIDE: 900,
    BreakQuality.EMERGENCY: 1800,
}


@dataclass(frozen=True)
class Block:
    """Lines that are shown together, and the text's characters [start, end) that they hold."""

    lines: tuple[str, ...]
    start: int
    end: int


class _Way(NamedTuple):
    """How to get to a stop: what it costs, and the stop and the unfinished lines before it."""

    cost: float
    from_stop: int
    from_lines: int


_NO_WAY = _Way(math.inf, 0, 0)


def lay_out(text: str, *, max_width: int, max_lines: int) -> list[Block]:
    """Blocks of at most `max_lines` lines of at most `max_width` columns, from tidy text.

    Only a single character wider than a line makes a line wider than that.
    """
    if not text:
        return []
    widths = [0, *accumulate(map(char_width, text))]
    if widths[-1] <= max_width:
        return [Block((text,), 0, len(text))]
    breaks = find_breaks(text, max_width)
    stops = [0, *(b.position for b in breaks), len(text)]
    ends = [stop - (stop < len(text) and text[stop - 1] in SEPARATORS) for stop in stops]
    starts_at = [widths[stop] for stop in stops]
    ends_at = [widths[end] for end in ends]
    line_costs = [0, *(_LINE_END[b.quality] for b in breaks), 0]
    block_costs = [0, *(_BLOCK_END[b.quality] for b in breaks), 0]

    # ways[n][stop]: the best way to that stop with n lines in an unfinished block; with n = 0, a
    # block has just ended there.
    ways = [[_NO_WAY] * len(stops) for _ in range(max_lines)]
    ways[0][0] = _Way(0, 0, 0)
    for here in range(len(stops) - 1):
        reached = [(way[here].cost, lines) for lines, way in enumerate(ways)]
        cheapest, cheapest_lines = min(reached)
        for there in range(here + 1, len(stops)):
            slack = max_width - (ends_at[there] - starts_at[here])
            if slack < 0:
                if there > here + 1:
                    break
                slack = 0  # a character wider than the line
            cost = slack * slack + line_costs[there]
            if cheapest + cost + block_costs[there] < ways[0][there].cost:
                ways[0][there] = _Way(cheapest + cost + block_costs[there], here, cheapest_lines)
            for so_far, lines in reached[:-1]:
                if so_far + cost < ways[lines + 1][there].cost:
                    ways[lines + 1][there] = _Way(so_far + cost, here, lines)
    return _blocks(text, stops, ends, _path(ways))


def _path(ways: list[list[_Way]]) -> list[tuple[int, int]]:
    """The stops on the best way to the end, and how many lines the unfinished block has at each."""
    path = [(len(ways[0]) - 1, 0)]
    while path[-1] != (0, 0):
        stop, lines = path[-1]
        way = ways[lines][stop]
        path.append((way.from_stop, way.from_lines))
    return path[::-1]


def _blocks(
    text: str, stops: list[int], ends: list[int], path: list[tuple[int, int]]
) -> list[Block]:
    blocks: list[Block] = []
    lines: list[str] = []
    block_start = 0
    for (here, _), (there, unfinished) in pairwise(path):
        lines.append(text[stops[here] : ends[there]].strip())
        if not unfinished:
            blocks.append(Block(tuple(lines), block_start, ends[there]))
            lines, block_start = [], stops[there]
    return blocks
