"""The converted checkpoint is the CTranslate2 model: the same greedy tokens on every clip."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Clip
from whisper_service.audio.decode import DecodeLimits, decode
from whisper_service.checkpoints.checkpoint import read_checkpoint
from whisper_service.checkpoints.embedded import MODELS, fetch, prepare
from whisper_service.settings import Settings
from whisper_service.whisper.vocabulary import Vocabulary

CLIPS = ("en/quick_brown_fox", "pt/pangrama", "zh/nihao_shijie", "fr/pangrama")
NEW_TOKENS = 24
TOLERANCE = 0.02  # float16 weights, summed in another order


@contextmanager
def others_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def without_timestamps(vocabulary: Vocabulary, language: str) -> list[int]:
    """A prompt after which the reference's generator follows the plain logits."""
    prefix = []
    if vocabulary.is_multilingual:
        prefix = [vocabulary.languages[language], vocabulary.tasks["transcribe"]]
    return [vocabulary.start_of_transcript, *prefix, vocabulary.no_timestamps]


@pytest.mark.parametrize("key", list(MODELS))
def test_the_converted_model_gives_the_same_logits_and_tokens(
    key: str, tmp_path: Path, clips: dict[str, Clip]
) -> None:
    with others_warnings():
        import ctranslate2
        import torch
        from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

        fetch(MODELS[key], tmp_path / "source")
        reference = ctranslate2.models.Whisper(str(tmp_path / "source"), compute_type="float32")
        folder = prepare(key, Settings(_env_file=None).cache_dir)
        extractor = WhisperFeatureExtractor.from_pretrained(folder)
        model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        vocabulary = read_checkpoint(str(folder)).vocabulary
        for name in CLIPS[: 1 if key.endswith(".en") else None]:
            with clips[name].path.open("rb") as file:
                samples = decode(file, DecodeLimits(30, 30))
            features = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features
            prompt = without_timestamps(vocabulary, clips[name].language)
            view = ctranslate2.StorageView.from_array(np.ascontiguousarray(features.numpy()))
            theirs = reference.generate(
                view,
                [prompt],
                beam_size=1,
                max_length=NEW_TOKENS,
                suppress_blank=False,
                suppress_tokens=[],
                return_logits_vocab=True,
            )[0]
            tokens = theirs.sequences_ids[0]
            given = torch.tensor([prompt + tokens])
            with torch.no_grad():
                ours = model(input_features=features, decoder_input_ids=given).logits[0].numpy()
            for step, token in enumerate(tokens):
                expected = np.array(theirs.logits[0][step])
                logits = ours[len(prompt) - 1 + step]
                ruled_out = expected < -1e30  # by the generator's own rules, not by the model
                assert ruled_out.mean() < 0.1
                assert np.abs(logits - expected)[~ruled_out].max() < TOLERANCE
                assert np.where(ruled_out, -np.inf, logits).argmax() == token
