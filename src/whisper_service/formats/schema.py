"""OpenAI's response bodies: what is sent, and what the OpenAPI document says is sent."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from whisper_service.domain import Task
from whisper_service.formats import sanitize

Text = Annotated[str, BeforeValidator(sanitize.well_formed)]
Seconds = Annotated[float, BeforeValidator(sanitize.seconds)]
Ratio = Annotated[float, BeforeValidator(sanitize.ratio)]
Logprob = Annotated[float, BeforeValidator(sanitize.logprob)]


def left_out(schema: dict[str, Any]) -> None:
    """A field without a value is not in the body, so null is no value that it can have."""
    schema.pop("default", None)


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    def to_json(self) -> bytes:
        """UTF-8, nothing escaped that need not be, and without the fields that have no value."""
        return self.model_dump_json(exclude_none=True).encode()


class DurationUsage(Body):
    """What the request used, measured by the length of its audio."""

    type: Literal["duration"] = Field(default="duration", description="Always `duration`.")
    seconds: int = Field(description="Length of the audio, in whole seconds, rounded up.", ge=0)


class InputTokenDetails(Body):
    """What the input tokens stand for."""

    audio_tokens: int = Field(description="Of the audio: 50 for a second of speech.", ge=0)
    text_tokens: int = Field(description="Of the prompt, for every window of 30 s.", ge=0)


class TokensUsage(Body):
    """What the request used, measured in the model's tokens."""

    type: Literal["tokens"] = Field(default="tokens", description="Always `tokens`.")
    input_tokens: int = Field(description="Tokens that were given to the model.", ge=0)
    output_tokens: int = Field(description="Tokens that the model wrote.", ge=0)
    total_tokens: int = Field(description="Their sum.", ge=0)
    input_token_details: InputTokenDetails = Field(description="The input tokens by kind.")


Usage = Annotated[DurationUsage | TokensUsage, Field(discriminator="type")]


class TokenLogprob(Body):
    """One token of the transcript."""

    token: Text = Field(description="The token's text.", examples=[" world"])
    logprob: Logprob = Field(
        description="Natural logarithm of the token's probability; -9999 for next to none.",
        examples=[-0.0123],
    )
    bytes: list[int] = Field(
        description="The token's UTF-8 bytes. A character may be spread over several tokens.",
        examples=[[32, 119, 111, 114, 108, 100]],
    )


class TranscriptionWord(Body):
    """One word and its time."""

    word: Text = Field(
        description="The word with its punctuation, without spaces.", examples=["world."]
    )
    start: Seconds = Field(description="Where it starts, in seconds.", examples=[0.48])
    end: Seconds = Field(description="Where it ends, in seconds.", examples=[0.92])


class SegmentWord(Body):
    """Not OpenAI's: a word inside its segment, as the reference writes it."""

    word: Text = Field(
        description="The word with its punctuation and the space before it: together they are the "
        "segment's text.",
        examples=[" world."],
    )
    start: Seconds = Field(description="Where it starts, in seconds.", examples=[0.48])
    end: Seconds = Field(description="Where it ends, in seconds.", examples=[0.92])
    probability: Ratio = Field(
        description="The mean of its tokens' probabilities.", examples=[0.87]
    )


class TranscriptionSegment(Body):
    """A phrase as the model cut it, its time, and how far to trust it."""

    id: int = Field(description="Number of the segment, from 0.", examples=[0])
    seek: int = Field(
        description="Where the 30 s window that it comes from starts, in frames of 10 ms.",
        examples=[0],
    )
    start: Seconds = Field(description="Where it starts, in seconds.", examples=[0.0])
    end: Seconds = Field(description="Where it ends, in seconds.", examples=[3.32])
    text: Text = Field(
        description="Its text, as the model wrote it: usually with a leading space.",
        examples=[" Hello, world."],
    )
    tokens: list[int] = Field(
        description="The model's token ids of the text.", examples=[[50364, 2425, 11, 1002, 13]]
    )
    temperature: Ratio = Field(
        description="The sampling temperature that was really used.", examples=[0.0]
    )
    avg_logprob: Logprob = Field(
        description="Average log-probability of the tokens. Below -1, do not trust the text.",
        examples=[-0.21],
    )
    compression_ratio: Ratio = Field(
        description="How far the text can be compressed. Above 2.4, it repeats itself.",
        examples=[1.18],
    )
    no_speech_prob: Ratio = Field(
        description="Probability that nobody speaks here. High, with an `avg_logprob` below -1: "
        "consider the segment silent.",
        examples=[0.012],
    )
    words: list[SegmentWord] | SkipJsonSchema[None] = Field(
        default=None,
        description="Not OpenAI's: the segment's words, when words and segments were asked for.",
        json_schema_extra=left_out,
    )


class TranscriptionJson(Body):
    """`response_format=json`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"text": "Hello, world.", "usage": {"type": "duration", "seconds": 4}}]
        }
    )

    text: Text = Field(description="The transcript.")
    logprobs: list[TokenLogprob] | SkipJsonSchema[None] = Field(
        default=None,
        description="The transcript's tokens, when `include[]=logprobs` was asked for.",
        json_schema_extra=left_out,
    )
    usage: Usage = Field(description="What the request used.")


class TranscriptionVerboseJson(Body):
    """`response_format=verbose_json`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "task": "transcribe",
                    "language": "english",
                    "duration": 3.32,
                    "text": "Hello, world.",
                    "segments": [
                        {
                            "id": 0,
                            "seek": 0,
                            "start": 0.0,
                            "end": 3.32,
                            "text": " Hello, world.",
                            "tokens": [50364, 2425, 11, 1002, 13, 50530],
                            "temperature": 0.0,
                            "avg_logprob": -0.21,
                            "compression_ratio": 1.18,
                            "no_speech_prob": 0.012,
                        }
                    ],
                    "usage": {"type": "duration", "seconds": 4},
                }
            ]
        }
    )

    task: Task = Field(description="What was done.")
    language: Text = Field(
        description="English name of the text's language, in lower case. A translation's is "
        "always `english`.",
        examples=["english"],
    )
    duration: Seconds = Field(description="Length of the audio, in seconds.", examples=[3.32])
    text: Text = Field(description="The transcript.")
    segments: list[TranscriptionSegment] | SkipJsonSchema[None] = Field(
        default=None,
        description="The transcript in timed phrases, unless words alone were asked for.",
        json_schema_extra=left_out,
    )
    words: list[TranscriptionWord] | SkipJsonSchema[None] = Field(
        default=None,
        description="The transcript in timed words, when words were asked for.",
        json_schema_extra=left_out,
    )
    usage: DurationUsage = Field(description="What the request used.")
