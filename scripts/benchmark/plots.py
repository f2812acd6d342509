"""Bar charts as small SVG files, which no library is needed for; they suit light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmark.results import Results

_ROW, _LEFT, _BARS, _RIGHT, _TOP = 22, 250, 380, 90, 34
_OURS, _OTHERS, _TEXT = "#0f8b8d", "#9aa5b1", "#7b8794"


@dataclass(frozen=True)
class Bar:
    label: str
    value: float
    least: float
    greatest: float
    is_ours: bool


def bar_chart(title: str, bars: Sequence[Bar], unit: str) -> str:
    """Horizontal bars from zero, the least and greatest round as a line on each."""
    width, height = _LEFT + _BARS + _RIGHT, _TOP + _ROW * len(bars) + 8
    scale = _BARS / max(bar.greatest for bar in bars)
    drawing = f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {drawing} font-size="12" fill="{_TEXT}">',
        f"<title>{escape(title)}</title>",
        f'<text x="8" y="18" font-size="14" font-weight="600">{escape(title)}</text>',
    ]
    for row, bar in enumerate(bars):
        y = _TOP + row * _ROW
        middle = y + _ROW / 2 - 3
        end = _LEFT + bar.value * scale
        weight = ' font-weight="600"' if bar.is_ours else ""
        label, colour = escape(bar.label), _OURS if bar.is_ours else _OTHERS
        least, greatest = (_LEFT + one * scale for one in (bar.least, bar.greatest))
        size = f'width="{end - _LEFT:.1f}" height="{_ROW - 6}"'
        at = f'x="{max(end, greatest) + 6:.1f}" y="{y + 12}"'
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end"{weight}>{label}</text>',
            f'<rect x="{_LEFT}" y="{y}" {size} fill="{colour}" rx="2"/>',
            f'<path d="M{least:.1f} {middle}H{greatest:.1f}" stroke="{_TEXT}"/>',
            f"<text {at}{weight}>{bar.value:.1f}{escape(unit)}</text>",
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def draw(results: Results, ours: str, works: Sequence[str], folder: Path) -> list[Path]:
    """A chart for each of the works that was measured, as `speed-….svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for work in works:
        bars = [
            Bar(each.peer, each.rate, min(each.rates), max(each.rates), each.peer == ours)
            for each in sorted(results.measured, key=lambda one: -one.rate)
            if each.work == work
        ]
        if not bars:
            continue
        name = work.replace(",", "").replace(" ", "-")
        path = folder / f"speed-{name}.svg"
        path.write_text(bar_chart(f"{work}: seconds of audio a second", bars, ""))
        drawn.append(path)
    return drawn
