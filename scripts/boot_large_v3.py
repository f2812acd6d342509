"""Boots the architecture of openai/whisper-large-v3 on the CPU with dummy weights.

Shows that nothing assumes whisper-base: 128 mel bins, a vocabulary of 51,866 with one more language
and every later id shifted by one, 32 layers of width 1,280. Needs about 8 GB of memory and a few
minutes. The text is nonsense, as the weights are; its form is checked.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

MEL_BINS = 128
VOCABULARY = 51_866
WIDTH, LAYERS, HEADS = 1_280, 32, 20


def make_checkpoint(base: Path, target: Path) -> None:
    """large-v3's configuration and tokenizer, made from those of whisper-base in `base`."""
    for name in ("tokenizer_config.json", "preprocessor_config.json"):
        shutil.copy(base / name, target / name)
    edit(target / "preprocessor_config.json", feature_size=MEL_BINS)
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = shifted(tokenizer["added_tokens"])
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    for name, entry in tokenizer["post_processor"]["special_tokens"].items():
        entry["ids"] = [ids[name]]
    (target / "tokenizer.json").write_text(json.dumps(tokenizer))
    shutil.copy(base / "config.json", target / "config.json")
    edit(
        target / "config.json",
        vocab_size=VOCABULARY,
        num_mel_bins=MEL_BINS,
        d_model=WIDTH,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        num_hidden_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=4 * WIDTH,
        decoder_ffn_dim=4 * WIDTH,
    )


def shifted(tokens: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The special tokens, Cantonese behind the last language and all later ids one higher."""
    last_language = next(token["id"] for token in tokens if token["content"] == "<|su|>")
    newer_names = {"<|nocaptions|>": "<|nospeech|>"}
    result = [
        {
            **token,
            "id": token["id"] + (token["id"] > last_language),
            "content": newer_names.get(token["content"], token["content"]),
        }
        for token in tokens
    ]
    cantonese = {**tokens[0], "id": last_language + 1, "content": "<|yue|>"}
    return sorted([*result, cantonese], key=lambda token: token["id"])


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


async def main() -> None:
    from whisper_service.checkpoints.checkpoint import read_checkpoint
    from whisper_service.checkpoints.resolve import resolve_model
    from whisper_service.engine.requests import DecodingRequest
    from whisper_service.resolve import resolve_engine
    from whisper_service.settings import load_settings

    base = Path(resolve_model("embedded", load_settings().cache_dir))
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(base, Path(folder))
        checkpoint = read_checkpoint(folder)
        vocabulary = checkpoint.vocabulary
        assert vocabulary.size == VOCABULARY
        assert len(vocabulary.languages) == 100
        assert vocabulary.timestamp_begin == 50_365
        began = time.perf_counter()
        few = {"load_format": "dummy", "max_num_seqs": 2, "max_num_batched_tokens": 3_000}
        settings = load_settings().model_copy(update={"profile": "cpu"})
        engine = resolve_engine(settings, few, folder).engine()
        print("starting the engine", flush=True)
        print(await engine.start(), flush=True)
        print(f"ready after {time.perf_counter() - began:.0f} s", flush=True)
        tone = np.sin(np.arange(80_000) * 0.1).astype(np.float32)
        began = time.perf_counter()
        decoding = await engine.decode(
            DecodingRequest(
                tone,
                task=vocabulary.tasks["transcribe"],
                language=vocabulary.languages["yue"],
            )
        )
        await engine.stop()
    assert decoding.language == vocabulary.languages["yue"]
    assert vocabulary.is_timestamp(decoding.tokens[0])
    assert not set(decoding.tokens) & set(vocabulary.suppressed)
    print(
        f"one window in {time.perf_counter() - began:.0f} s: {len(decoding.tokens)} tokens, "
        f"no_speech_prob {decoding.no_speech_prob:.3g}, avg_logprob {decoding.avg_logprob:.2f}"
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
