"""Writes a complete Transformers checkpoint of Whisper from a folder of CTranslate2's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer

from whisper_service.checkpoints.ctranslate2 import Tensor, read_model, to_transformers
from whisper_service.checkpoints.merges import with_missing_merges
from whisper_service.domain import TIME_PRECISION, WINDOW_SECONDS
from whisper_service.whisper.vocabulary import (
    MAX_INITIAL_TIMESTAMP,
    MULTILINGUAL_VOCABULARY,
    NO_SPEECH_NAMES,
    TIMESTAMPS,
    token_id,
)


def convert(source: Path, target: Path) -> None:
    """Turns `source` (model.bin, config.json, tokenizer.json) into a checkpoint in `target`.

    Args:
        source: a folder of a CTranslate2 Whisper model in float16 or float32.
        target: an empty folder that exists.

    Raises:
        MalformedModelError: model.bin is not what it should be.
    """
    tensors = read_model(source / "model.bin")
    hints = json.loads((source / "config.json").read_text())
    packaged = (source / "tokenizer.json").read_text(encoding="utf-8")
    tokenizer = Tokenizer.from_str(with_missing_merges(packaged))
    vocabulary = tensors["decoder/embeddings/weight"].shape[0]
    _add_timestamps(tokenizer, vocabulary)
    tokenizer.save(str(target / "tokenizer.json"))
    save_file(
        {name: np.ascontiguousarray(part) for name, part in to_transformers(tensors).items()},
        target / "model.safetensors",
        metadata={"format": "pt"},
    )
    (target / "model.safetensors").chmod(0o644)  # an image's user is not the one that built it
    config = _model_config(tensors, tokenizer)
    _write(target / "config.json", config)
    _write(target / "generation_config.json", _generation_config(hints, tokenizer, config))
    _write(target / "preprocessor_config.json", _feature_extractor(config["num_mel_bins"]))
    _write(target / "tokenizer_config.json", _tokenizer_config())


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def _add_timestamps(tokenizer: Tokenizer, vocabulary: int) -> None:
    tokens = [f"<|{index * TIME_PRECISION:.2f}|>" for index in range(TIMESTAMPS)]
    missing = [token for token in tokens if tokenizer.token_to_id(token) is None]
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in missing]
    )
    if tokenizer.get_vocab_size() != vocabulary:
        raise ValueError(
            f"the tokenizer has {tokenizer.get_vocab_size()} tokens, the weights {vocabulary}"
        )


def _layers(tensors: dict[str, Tensor], stack: str) -> int:
    return len({name.split("/")[1] for name in tensors if name.startswith(f"{stack}/layer_")}) - (
        f"{stack}/layer_norm/gamma" in tensors
    )


def _model_config(tensors: dict[str, Tensor], tokenizer: Tokenizer) -> dict[str, Any]:
    width, mel_bins, _ = tensors["encoder/conv1/weight"].shape
    vocabulary = tensors["decoder/embeddings/weight"].shape[0]
    end = token_id(tokenizer, "<|endoftext|>")
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "activation_function": "gelu",
        "vocab_size": vocabulary,
        "num_mel_bins": mel_bins,
        "d_model": width,
        "encoder_layers": _layers(tensors, "encoder"),
        "encoder_attention_heads": int(tensors["encoder/num_heads"]),
        "encoder_ffn_dim": tensors["encoder/layer_0/ffn/linear_0/weight"].shape[0],
        "decoder_layers": _layers(tensors, "decoder"),
        "decoder_attention_heads": int(tensors["decoder/num_heads"]),
        "decoder_ffn_dim": tensors["decoder/layer_0/ffn/linear_0/weight"].shape[0],
        "num_hidden_layers": _layers(tensors, "encoder"),
        "max_source_positions": tensors["encoder/position_encodings/encodings"].shape[0],
        "max_target_positions": tensors["decoder/position_encodings/encodings"].shape[0],
        "scale_embedding": False,
        "is_encoder_decoder": True,
        "tie_word_embeddings": True,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": token_id(tokenizer, "<|startoftranscript|>"),
        "dtype": "float16",
    }


def _generation_config(
    hints: dict[str, Any], tokenizer: Tokenizer, config: dict[str, Any]
) -> dict[str, Any]:
    languages = {
        token: index
        for token, index in tokenizer.get_vocab().items()
        if index in set(hints["lang_ids"])
    }
    # An English-only tokenizer has the language tokens as well: only its size tells it apart.
    multilingual = config["vocab_size"] >= MULTILINGUAL_VOCABULARY
    generation: dict[str, Any] = {
        "alignment_heads": hints["alignment_heads"],
        "begin_suppress_tokens": hints["suppress_ids_begin"],
        "suppress_tokens": hints["suppress_ids"],
        "decoder_start_token_id": config["decoder_start_token_id"],
        "bos_token_id": config["bos_token_id"],
        "eos_token_id": config["eos_token_id"],
        "pad_token_id": config["pad_token_id"],
        "is_multilingual": multilingual,
        "max_initial_timestamp_index": MAX_INITIAL_TIMESTAMP,
        "max_length": config["max_target_positions"],
        "no_speech_token_id": token_id(tokenizer, *NO_SPEECH_NAMES),
        "no_timestamps_token_id": token_id(tokenizer, "<|notimestamps|>"),
        "prev_sot_token_id": token_id(tokenizer, "<|startofprev|>"),
        "return_timestamps": False,
    }
    if multilingual:
        generation["lang_to_id"] = dict(sorted(languages.items(), key=lambda item: item[1]))
        generation["task_to_id"] = {
            "transcribe": token_id(tokenizer, "<|transcribe|>"),
            "translate": token_id(tokenizer, "<|translate|>"),
        }
    return generation


def _feature_extractor(mel_bins: int) -> dict[str, Any]:
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": mel_bins,
        "sampling_rate": 16_000,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": WINDOW_SECONDS,
        "n_samples": WINDOW_SECONDS * 16_000,
        "nb_max_frames": WINDOW_SECONDS * 100,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }


def _tokenizer_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "add_prefix_space": False,
        "errors": "replace",
        "model_max_length": 1024,
    }
