"""Prompts as users write them, and sentences in many languages for the tokenizers."""

from __future__ import annotations

_LONG = (
    "The minutes of the meeting follow. The chairman thanked the members for the report, and the "
    "treasurer then told the board that the costs of the trip to the north had been higher than "
    "those of the year before. "
)

ENGLISH_PROMPTS = (
    "Names: Mr. Quilter",
    "The licensor and the contributor grant the licensee the rights to the work.",
    "the to then that there this",
    "Glossary: Licensor, Licensee, Contributor, Derivative Works, NOTICE.",
    "hello this is all written in lower case without any full stops",
    "ALL IN CAPITAL LETTERS, AS A TELETYPE WRITES.",
    "Numbers: 1, 2, 3, 4, 5.",
    "One. Two. Three.",
    "Umm, let me think like, hmm... Okay, here's what I'm, like, thinking.",
    "Q: What is the time? A: Ten to two.",
    "An interview with Dr. O'Neill-Smith, Ph.D., at 5 o'clock.",
    "ZyntriQix, Digique Plus, CynapseFive, VortiQore V8, EchoNix Array",
    "fox",
    ".",
    "...",
    "-",
    "\u201cQuoted,\u201d she said; \u2018twice\u2019 \u2013 and again \u2014 then stopped\u2026",
    "Symbols: @ # $ % & * ( ) [ ] { } < > | \\ / ~ ^ _ + =",
    "https://www.example.com/path?query=1&other=2",
    "def transcribe(audio): return model.decode(audio)",
    "This is the end of the first part. The second part begins here.",
    "  Spaces   before,  between   and behind.  ",
    "A line.\nAnother line.\n\nA paragraph.",
    "It is about music, noise and silence.",
    _LONG,
    _LONG * 6,
)
MISLEADING_PROMPTS = (
    "Dies ist eine Aufnahme aus der Sitzung vom Dienstag. Herr Müller spricht zuerst.",
    "これは会議の録音です。",
    "Este es el informe de la reunión del martes.",
)
PROMPTS = (*ENGLISH_PROMPTS, *MISLEADING_PROMPTS, "Emoji 🎧🎤 and ½ °C, naïve café, Ångström.")

SENTENCES = (
    "Then the others told them that they thought the trip to the theatre was too long.",
    "Der Übersetzer tat, was er tun musste: Er trank Tee und las täglich die Zeitung.",
    "Tous les trains partent à l'heure, sauf celui de Toulouse; c'est très étrange.",
    "Todos los trenes salen a tiempo, ¿no? ¡También el de Córdoba!",
    "Tutti i treni partono in orario, tranne quello per Torino. Perché?",
    "De trein naar Tilburg vertrekt vandaag te laat, dat weet toch iedereen.",
    "Wszystkie pociągi odjeżdżają punktualnie, także ten do Torunia. Źdźbło trawy.",
    "Все поезда отправляются вовремя, кроме того, что идёт в Тверь.",
    "Το τρένο για τη Θεσσαλονίκη φεύγει στις τρεις το απόγευμα.",
    "Tren tam zamanında kalkıyor; İstanbul'a giden ise geç kalıyor, değil mi?",
    "すべての電車は時間通りに出発します。東京行きだけが遅れています。",
    "所有的火车都准点出发，除了去天津的那一趟。「真的吗？」",
    "모든 기차는 정시에 출발합니다. 부산행만 늦습니다.",
    "سيغادر القطار المتجه إلى القاهرة في الساعة الثالثة، أليس كذلك؟",
    "הרכבת לתל אביב יוצאת בשעה שלוש.",
    "सभी ट्रेनें समय पर चलती हैं, दिल्ली वाली को छोड़कर।",
    "รถไฟทุกขบวนออกตรงเวลา ยกเว้นขบวนไปเชียงใหม่",
    "Tàu đi Thành phố Hồ Chí Minh khởi hành lúc ba giờ chiều.",
    "Tåget till Tromsø går i tid; þetta er alltaf þannig á Íslandi.",
    "Toți pasagerii trebuie să știe că trenul către Timișoara întârzie.",
    "I'm, you're, he's, we've, they'll, I'd, don't; I'M, YOU'RE, HE'S, DON'T.",
    "tab\tand\r\nline ends\n and   many    spaces \u00a0\u2009\u3000 of all kinds ",
    "<|endoftext|> and <|0.00|> are only text here.",
    "e\u0301 is not \u00e9; \ufb01 is a ligature; \U0001f469\u200d\U0001f4bb is one sign.",
    "3.14159, 1,000,000, 50%, \u20ac5, \u00a35, #1, 12:30, 2025-06-25",
    "",
    " ",
    "t",
    "T",
)
