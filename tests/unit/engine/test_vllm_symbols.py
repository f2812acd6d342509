"""Each place of vLLM's insides that this service leans on: an upgrade fails here, by its name.

`docs/upgrading-vllm.md` says for each what to look at.
"""

from __future__ import annotations

import dataclasses
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what vLLM imports

WHISPER = "vllm.model_executor.models.whisper"
PROCESSOR = f"{WHISPER}:WhisperMultiModalProcessor"
MODEL = f"{WHISPER}:WhisperForConditionalGeneration"
CPU_ATTENTION = "vllm.v1.attention.backends.cpu_attn"
V2_RULES = "vllm.v1.worker.gpu.sample.logits_processor"

# What is overridden, or replaced on an instance: all of its parameters, in their order.
OVERRIDDEN = {
    f"{PROCESSOR}._apply_hf_processor_main": "self mm_items hf_kwargs",
    f"{PROCESSOR}._apply_hf_processor": "self inputs timing_ctx",
    f"{PROCESSOR}._get_cache_missing_processor_kwargs": "self inputs mm_is_cached",
    f"{PROCESSOR}._get_mm_fields_config": "self hf_inputs hf_processor_mm_kwargs",
    f"{MODEL}.__init__": "self vllm_config prefix",
    f"{MODEL}.embed_multimodal": "self kwargs",
    "vllm.v1.sample.logits_processor:LogitsProcessor.__init__": (
        "self vllm_config device is_pin_memory"
    ),
    "vllm.v1.sample.logits_processor:LogitsProcessor.apply": "self logits",
    "vllm.v1.sample.logits_processor:LogitsProcessor.update_state": "self batch_update",
    "vllm.v1.sample.logits_processor:LogitsProcessor.is_argmax_invariant": "self",
    f"{V2_RULES}:LogitsProcessor.__init__": "self vllm_config req_states",
    f"{V2_RULES}:LogitsProcessor.add_request": "self req_idx sampling_params",
    f"{V2_RULES}:LogitsProcessor.apply": "self logits ctx",
    "vllm.v1.core.sched.scheduler:Scheduler.update_from_output": (
        "self scheduler_output model_runner_output"
    ),
    "vllm.v1.engine.utils:get_mp_context": "",
    f"{WHISPER}:WhisperDecoder.forward": "self input_ids positions encoder_hidden_states",
    f"{WHISPER}:WhisperEncoderAttention.forward": (
        "self query key value cu_seqlens max_seqlen sequence_lengths"
    ),
    f"{CPU_ATTENTION}:CPUAttentionBackendImpl.forward": (
        "self layer query key value kv_cache attn_metadata output output_scale output_block_scale"
    ),
    f"{CPU_ATTENTION}:CPUAttentionBackendImpl.do_kv_cache_update": (
        "self layer key value kv_cache slot_mapping"
    ),
}

# What is called: these parameters, among others.
CALLED = {
    "vllm:ModelRegistry.register_model": "model_arch model_cls",
    "vllm:ModelRegistry.get_supported_archs": "",
    "vllm.plugins:load_general_plugins": "",
    "vllm.v1.engine.async_llm:AsyncLLM.from_engine_args": "engine_args",
    "vllm.v1.engine.async_llm:AsyncLLM.generate": (
        "prompt sampling_params request_id trace_headers data_parallel_rank"
    ),
    "vllm.v1.engine.async_llm:AsyncLLM.shutdown": "",
    "vllm.v1.engine.core_client:AsyncMPClient.call_utility_all_async": "method args",
    "vllm.v1.engine.core:EngineCore.collective_rpc": "method timeout args kwargs",
    "vllm.v1.worker.gpu_model_runner:GPUModelRunner.get_model": "",
    "vllm.v1.worker.cpu_model_runner:CPUModelRunner.get_model": "",
    "vllm.multimodal.inputs:MultiModalFieldConfig.batched": "modality keep_on_cpu",
    "vllm.multimodal.parse:AudioProcessorItems.get_all": "",
    "vllm.multimodal.parse:MultiModalDataItems.get_items": "modality typ",
    f"{WHISPER}:WhisperModel.get_encoder_outputs": "input_features",
    "vllm.distributed:get_tensor_model_parallel_rank": "",
    "vllm.distributed:tensor_model_parallel_all_reduce": "input_",
    "vllm.forward_context:get_forward_context": "",
    "vllm.forward_context:set_forward_context": "attn_metadata vllm_config slot_mapping",
    "vllm._custom_ops:cpu_attn_get_scheduler_metadata": (
        "num_reqs num_heads num_kv_heads head_dim seq_lens dtype query_start_loc causal "
        "sliding_window_size isa enable_kv_split kv_cache_dtype"
    ),
}

# What is read or given: these fields or attributes, among others.
HAS = {
    PROCESSOR: "skip_decoder_start_token",
    "vllm.multimodal.processing.inputs:ProcessorInputs": (
        "mm_data_items mm_uuid_items hf_processor_mm_kwargs"
    ),
    "vllm:AsyncEngineArgs": (
        "model hf_overrides logits_processors worker_extension_cls additional_config scheduler_cls "
        "distributed_executor_backend data_parallel_size limit_mm_per_prompt mm_processor_cache_gb "
        "kv_cache_memory_bytes logprobs_mode attention_backend compilation_config block_size"
    ),
    "vllm.sampling_params:RepetitionDetectionParams": "max_pattern_size min_pattern_size min_count",
    "vllm.sampling_params:RequestOutputKind": "CUMULATIVE FINAL_ONLY",
    "vllm.v1.outputs:LogprobsLists": "logprob_token_ids logprobs sampled_token_ranks",
    "vllm.v1.sample.logits_processor:BatchUpdate": "removed added moved",
    "vllm.v1.sample.logits_processor:MoveDirectionality": "SWAP UNIDIRECTIONAL",
    f"{V2_RULES}:LogitsContext": ("expanded_idx_mapping idx_mapping_np seq_lens_upper_bound_np"),
    f"{V2_RULES}:LogitsProcRequestState": "device max_num_reqs all_token_ids prompt_len total_len",
    f"{CPU_ATTENTION}:CPUAttentionMetadata": (
        "num_actual_tokens max_query_len query_start_loc max_seq_len seq_lens block_table "
        "slot_mapping scheduler_metadata causal"
    ),
    "vllm.v1.executor.uniproc_executor:UniProcExecutor": "collective_rpc",
    "vllm.v1.engine.exceptions:EngineDeadError": "args",
    "vllm.v1.engine:EngineCoreOutput": ("request_id new_token_ids new_logprobs events finished"),
    "vllm.v1.engine:EngineCoreOutputs": "outputs finished_requests",
}


def find(symbol: str) -> Any:
    module, _, path = symbol.partition(":")
    found: Any = import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found


def parameters(symbol: str) -> list[str]:
    return list(inspect.signature(find(symbol)).parameters)


@pytest.mark.parametrize(("symbol", "expected"), OVERRIDDEN.items(), ids=OVERRIDDEN)
def test_what_is_overridden_takes_the_same(symbol: str, expected: str) -> None:
    assert parameters(symbol) == expected.split()


@pytest.mark.parametrize(("symbol", "expected"), CALLED.items(), ids=CALLED)
def test_what_is_called_takes_what_it_is_given(symbol: str, expected: str) -> None:
    assert set(expected.split()) <= set(parameters(symbol))


@pytest.mark.parametrize(("symbol", "expected"), HAS.items(), ids=HAS)
def test_what_is_read_is_there(symbol: str, expected: str) -> None:
    found = find(symbol)
    names = {*dir(found), *getattr(found, "__struct_fields__", ())}
    if dataclasses.is_dataclass(found):
        names |= {field.name for field in dataclasses.fields(found)}
    assert set(expected.split()) <= names


def test_the_release_is_the_one_that_this_was_read_in() -> None:
    import vllm

    assert vllm.__version__.startswith("0.32.0")


def test_every_symbol_of_vllms_that_the_service_imports_is_listed() -> None:
    """So that this list stays whole: whoever adds an import adds a line."""
    source = Path(__file__).parents[3] / "src" / "whisper_service" / "engine"
    listed = {symbol.partition(":")[0] for symbol in (*OVERRIDDEN, *CALLED, *HAS)}
    listed |= {"vllm.multimodal", "vllm.v1.core.sched.scheduler", "vllm.v1.worker.cpu_worker"}
    texts = (path.read_text(encoding="utf-8") for path in source.rglob("*.py"))
    lines = [line.split() for text in texts for line in text.splitlines()]
    imported = {words[1] for words in lines if words[:1] == ["from"] and "import" in words}
    unlisted = {name for name in imported if name.split(".")[0] == "vllm"} - listed
    assert not unlisted
