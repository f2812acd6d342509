from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

from benchmark.limit import CARDS, card_named, roofline, whisper_work
from benchmark.openai_weights import openai_name
from benchmark.plots import draw
from benchmark.results import Results, Verdict, at_least, at_most, goal_table, guard, rate_table


@pytest.fixture
def results() -> Iterator[Results]:
    """Two rounds of 100 s of audio: the service took 2 and 4 s, a peer 6 s each time."""
    found = Results()
    for ours, theirs in ((2.0, 6.0), (4.0, 6.0)):
        found.add("clips", "service", 100, ours)
        found.add("clips", "peer", 100, theirs)
    return found


def test_a_ratio_is_of_the_medians_and_tells_the_rounds_spread(results: Results) -> None:
    ratio = results.ratio("clips", "service", "peer")
    assert ratio is not None
    assert ratio.value == pytest.approx(37.5 / (100 / 6))
    assert (ratio.least, ratio.greatest) == pytest.approx((1.5, 3.0))


def test_what_was_not_measured_has_no_ratio_and_no_verdict(results: Results) -> None:
    assert results.ratio("clips", "service", "nobody") is None
    verdict = at_least(2, "x", lambda r: r.ratio("other", "service", "peer")).judge(results)
    assert verdict.kept is None
    assert "not measured" in goal_table([verdict])


@pytest.mark.parametrize(
    ("goal", "kept"),
    [
        (at_least(2.0, "x", lambda r: r.ratio("clips", "service", "peer")), True),
        (at_least(2.5, "x", lambda r: r.ratio("clips", "service", "peer")), False),
        (at_most(25, "x", lambda _: 24.9, " s"), True),
        (at_most(25, "x", lambda _: 25.1, " s"), False),
    ],
)
def test_a_goal_is_kept_on_the_right_side_of_its_bound(
    results: Results, goal: object, kept: bool
) -> None:
    assert goal.judge(results).kept is kept  # type: ignore[attr-defined]


def test_the_guard_tells_what_got_worse_and_only_that() -> None:
    now = [
        Verdict("speed", "≥ 2", "1.5", 1.5, kept=False),
        Verdict("latency", "≤ 0.9", "1.05", 1.05, kept=False),
        Verdict("other", "≥ 1", "1.9", 1.9, kept=True),
        Verdict("start", "≤ 25 s", "90.00 s", 90.0, kept=False),  # a time: never compared
        Verdict("new", "≥ 1", "0.1", 0.1, kept=False),  # unknown to the baseline
    ]
    before = {"speed": 2.0, "latency": 0.9, "other": 2.0, "start": 20.0}
    worse = guard(before, now, slack=0.1)
    assert [each.split(":")[0] for each in worse] == ["speed", "latency"]
    assert guard(before, now, slack=0.3) == []


def test_every_transcriber_stands_beside_ours(results: Results) -> None:
    text = rate_table(results, "service")
    assert "2.25 (1.50 to 3.00)" in text


def test_a_chart_is_drawn_for_what_was_measured(results: Results, tmp_path: Path) -> None:
    (path,) = draw(results, "service", ("clips", "unknown"), tmp_path)
    assert len(ET.parse(path).findall("{http://www.w3.org/2000/svg}rect")) == 2


@pytest.mark.parametrize(
    ("card", "cache_bytes", "limit"),
    [("H100", 2, 2_540), ("H100", 1, 3_930), ("L40S", 2, 700), ("L40S", 1, 1_130)],
)
def test_large_v3s_limits_are_those_that_are_known(
    card: str, cache_bytes: int, limit: float
) -> None:
    work = whisper_work(1_280, 32, 51_866, 128, cache_bytes)
    assert roofline(work, CARDS[card], 64, 110) == pytest.approx(limit, rel=0.04)


def test_a_window_of_whisper_base_takes_97_gflop() -> None:
    assert whisper_work(512, 6, 51_865, 80, 1).encoder_flop == pytest.approx(97e9, rel=0.01)


def test_a_card_is_known_by_the_name_that_torch_gives_it() -> None:
    assert card_named("NVIDIA H100 80GB HBM3") == CARDS["H100"]
    assert card_named("NVIDIA H100 PCIe") == CARDS["H100 PCIe"]
    assert card_named("NVIDIA L40S") == CARDS["L40S"]
    assert card_named("Some Card") is None


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("model.encoder.conv1.weight", "encoder.conv1.weight"),
        ("model.encoder.layers.0.self_attn.q_proj.bias", "encoder.blocks.0.attn.query.bias"),
        ("model.encoder.layers.3.self_attn_layer_norm.weight", "encoder.blocks.3.attn_ln.weight"),
        ("model.decoder.layers.5.encoder_attn.k_proj.weight",
         "decoder.blocks.5.cross_attn.key.weight"),
        ("model.decoder.layers.5.encoder_attn_layer_norm.bias",
         "decoder.blocks.5.cross_attn_ln.bias"),
        ("model.decoder.layers.1.fc2.weight", "decoder.blocks.1.mlp.2.weight"),
        ("model.decoder.layers.1.final_layer_norm.bias", "decoder.blocks.1.mlp_ln.bias"),
        ("model.encoder.layer_norm.weight", "encoder.ln_post.weight"),
        ("model.decoder.layer_norm.weight", "decoder.ln.weight"),
        ("model.decoder.embed_tokens.weight", "decoder.token_embedding.weight"),
        ("model.decoder.embed_positions.weight", "decoder.positional_embedding"),
    ],
)  # fmt: skip
def test_openais_model_has_other_names_for_the_same_weights(name: str, theirs: str) -> None:
    assert openai_name(name) == theirs
