"""The languages that Whisper was trained on, and what callers call them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

# Whisper's codes in the order of its language tokens, with its own English names
# (openai/whisper, `tokenizer.py`). `yue` exists since large-v3 only.
LANGUAGES: Mapping[str, str] = MappingProxyType(
    {
        "en": "english",
        "zh": "chinese",
        "de": "german",
        "es": "spanish",
        "ru": "russian",
        "ko": "korean",
        "fr": "french",
        "ja": "japanese",
        "pt": "portuguese",
        "tr": "turkish",
        "pl": "polish",
        "ca": "catalan",
        "nl": "dutch",
        "ar": "arabic",
        "sv": "swedish",
        "it": "italian",
        "id": "indonesian",
        "hi": "hindi",
        "fi": "finnish",
        "vi": "vietnamese",
        "he": "hebrew",
        "uk": "ukrainian",
        "el": "greek",
        "ms": "malay",
        "cs": "czech",
        "ro": "romanian",
        "da": "danish",
        "hu": "hungarian",
        "ta": "tamil",
        "no": "norwegian",
        "th": "thai",
        "ur": "urdu",
        "hr": "croatian",
        "bg": "bulgarian",
        "lt": "lithuanian",
        "la": "latin",
        "mi": "maori",
        "ml": "malayalam",
        "cy": "welsh",
        "sk": "slovak",
        "te": "telugu",
        "fa": "persian",
        "lv": "latvian",
        "bn": "bengali",
        "sr": "serbian",
        "az": "azerbaijani",
        "sl": "slovenian",
        "kn": "kannada",
        "et": "estonian",
        "mk": "macedonian",
        "br": "breton",
        "eu": "basque",
        "is": "icelandic",
        "hy": "armenian",
        "ne": "nepali",
        "mn": "mongolian",
        "bs": "bosnian",
        "kk": "kazakh",
        "sq": "albanian",
        "sw": "swahili",
        "gl": "galician",
        "mr": "marathi",
        "pa": "punjabi",
        "si": "sinhala",
        "km": "khmer",
        "sn": "shona",
        "yo": "yoruba",
        "so": "somali",
        "af": "afrikaans",
        "oc": "occitan",
        "ka": "georgian",
        "be": "belarusian",
        "tg": "tajik",
        "sd": "sindhi",
        "gu": "gujarati",
        "am": "amharic",
        "yi": "yiddish",
        "lo": "lao",
        "uz": "uzbek",
        "fo": "faroese",
        "ht": "haitian creole",
        "ps": "pashto",
        "tk": "turkmen",
        "nn": "nynorsk",
        "mt": "maltese",
        "sa": "sanskrit",
        "lb": "luxembourgish",
        "my": "myanmar",
        "bo": "tibetan",
        "tl": "tagalog",
        "mg": "malagasy",
        "as": "assamese",
        "tt": "tatar",
        "haw": "hawaiian",
        "ln": "lingala",
        "ha": "hausa",
        "ba": "bashkir",
        "jw": "javanese",
        "su": "sundanese",
        "yue": "cantonese",
    }
)

# Codes of other standards, or of older ones, for languages that Whisper has under another code.
_CODE_ALIASES = {
    "cmn": "zh",  # ISO 639-3, Mandarin
    "fil": "tl",  # Filipino is standardised Tagalog
    "in": "id",  # ISO 639-1 until 1989; Java clients still send these three
    "iw": "he",
    "ji": "yi",
    "jv": "jw",  # ISO 639-1 has jv; Whisper kept a withdrawn code
    "mo": "ro",  # Moldavian, withdrawn in 2008
    "nb": "no",  # Bokmål; Nynorsk has a token of its own
}

_NAME_ALIASES = {
    "azeri": "az",
    "bangla": "bn",
    "bokmal": "no",
    "bokmål": "no",
    "burmese": "my",
    "byelorussian": "be",
    "castilian": "es",
    "farsi": "fa",
    "filipino": "tl",
    "flemish": "nl",
    "haitian": "ht",
    "kiswahili": "sw",
    "letzeburgesch": "lb",
    "mandarin": "zh",
    "moldavian": "ro",
    "moldovan": "ro",
    "norwegian bokmal": "no",
    "norwegian bokmål": "no",
    "norwegian nynorsk": "nn",
    "panjabi": "pa",
    "pushto": "ps",
    "sinhalese": "si",
    "slovene": "sl",
    "valencian": "ca",
}

_CODES_BY_NAME = {name: code for code, name in LANGUAGES.items()} | _NAME_ALIASES

# A language, then script, region and variants (BCP 47), joined by "-", or by "_" as in locales.
_LANGUAGE_TAG = re.compile(r"([a-z]{2,3})((?:[-_][a-z0-9]{1,8})*)")

_CHINESE_EXTENDED = {"cmn": "zh", "yue": "yue"}  # zh-cmn-Hans, zh-yue: the language is named second


def language_name(code: str) -> str:
    """Whisper's English name of a language, in lower case; the code itself if it has none."""
    return LANGUAGES.get(code, code)


def resolve_language(value: str) -> str | None:
    """Whisper's code for what a caller calls a language; None if Whisper does not know it.

    Codes (`en`, `EN`), locales (`en-US`, `pt_BR`, `zh-Hant`), English names (`english`,
    `Haitian Creole`) and their usual synonyms (`burmese`) are understood. Whether the model that
    is served has the language is another question: see `ModelCard.languages`.
    """
    value = " ".join(value.split()).lower()
    return _CODES_BY_NAME.get(value) or _resolve_tag(value)


def _resolve_tag(tag: str) -> str | None:
    match = _LANGUAGE_TAG.fullmatch(tag)
    if match is None:
        return None
    primary, subtags = match.groups()
    if primary == "zh":
        second = re.split("[-_]", subtags.lstrip("-_"))[0]
        primary = _CHINESE_EXTENDED.get(second, primary)
    primary = _CODE_ALIASES.get(primary, primary)
    return primary if primary in LANGUAGES else None
