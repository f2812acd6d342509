// srt and vtt of a transcript that is here already, so that a download need not ask again.
// The rules are the service's: two lines of 42 columns, no overlap, at least 0.7 s where there is time.

const LINE = 42;
const LINES = 2;
const SHORTEST = 700; // milliseconds
const ARROW = /-[- ]+>/g;

const milliseconds = (seconds) => Math.max(0, Math.round(seconds * 1000));

/** Columns: a wide East Asian character takes two. */
export function width(text) {
  let columns = 0;
  for (const character of text) {
    columns += /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u.test(character) ? 2 : 1;
  }
  return columns;
}

/** Where a line may break: after a space, and between words of scripts that write none. */
function pieces(text) {
  if (!globalThis.Intl?.Segmenter) return text.split(/(?<=\s)/);
  const parts = [...new Intl.Segmenter(undefined, { granularity: "word" }).segment(text)];
  const joined = [];
  for (const { segment, isWordLike } of parts) {
    const previous = joined.at(-1);
    const fresh = previous === undefined || /\s$/.test(previous) || (isWordLike && /[\p{sc=Han}\p{sc=Hira}\p{sc=Kana}\p{sc=Thai}\p{sc=Khmr}\p{sc=Laoo}\p{sc=Mymr}、。，！？]$/u.test(previous));
    if (fresh) joined.push(segment);
    else joined[joined.length - 1] += segment;
  }
  return joined;
}

/** Lines of at most 42 columns, of about the same length. */
function wrap(text) {
  const parts = pieces(text).flatMap((part) => (width(part.trimEnd()) > LINE ? [...part] : [part]));
  const fill = (limit) => {
    const lines = [""];
    for (const part of parts) {
      if (lines.at(-1) && width((lines.at(-1) + part).trimEnd()) > limit) lines.push("");
      lines[lines.length - 1] += part;
    }
    return lines.map((line) => line.trim()).filter(Boolean);
  };
  const count = fill(LINE).length;
  for (let limit = Math.ceil(width(text) / count); limit < LINE; limit += 1) {
    const lines = fill(limit);
    if (lines.length === count) return lines;
  }
  return fill(LINE);
}

/** Cues {start, end, lines}: milliseconds, in order, none over another. */
export function cues(segments) {
  const spoken = segments.filter((segment) => segment.text.trim()).sort((a, b) => a.start - b.start);
  const made = [];
  let free = 0;
  spoken.forEach((segment, index) => {
    const lines = wrap(segment.text.trim().replace(/\s+/g, " "));
    const blocks = [];
    for (let at = 0; at < lines.length; at += LINES) blocks.push(lines.slice(at, at + LINES));
    const start = Math.max(milliseconds(segment.start), free);
    let end = Math.max(milliseconds(segment.end), start + SHORTEST * blocks.length);
    if (index + 1 < spoken.length) end = Math.min(end, milliseconds(spoken[index + 1].start));
    end = Math.max(end, start + blocks.length);
    made.push(...share(blocks, segment.words, start, end));
    free = end;
  });
  return made;
}

/** A long segment's cues: by its words' times, else each as long as its text. */
function share(blocks, words, start, end) {
  const letters = (text) => text.replace(/\s/g, "").length;
  const total = blocks.reduce((sum, block) => sum + letters(block.join("")), 0);
  let seen = 0;
  let from = start;
  return blocks.map((lines, index) => {
    seen += letters(lines.join(""));
    const left = blocks.length - index - 1;
    const even = start + Math.round(((end - start) * seen) / total);
    const next = left ? Math.min(Math.max(wordStart(words, seen) ?? even, from + 1), end - left) : end;
    const cue = { start: from, end: next, lines };
    from = next;
    return cue;
  });
}

function wordStart(words, letters) {
  let seen = 0;
  for (const word of words ?? []) {
    if (seen >= letters) return milliseconds(word.start);
    seen += word.word.replace(/\s/g, "").length;
  }
  return null;
}

function stamp(total, point) {
  const pad = (value, digits) => String(value).padStart(digits, "0");
  const seconds = Math.floor(total / 1000);
  return `${pad(Math.floor(seconds / 3600), 2)}:${pad(Math.floor(seconds / 60) % 60, 2)}:${pad(seconds % 60, 2)}${point}${pad(total % 1000, 3)}`;
}

export function srt(segments) {
  return cues(segments)
    .map((cue, index) => `${index + 1}\n${stamp(cue.start, ",")} --> ${stamp(cue.end, ",")}\n${cue.lines.map((line) => `${line.replace(ARROW, "→")}\n`).join("")}`)
    .join("\n");
}

const escaped = (line) => line.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

export function vtt(segments) {
  return `WEBVTT\n${cues(segments)
    .map((cue) => `\n${stamp(cue.start, ".")} --> ${stamp(cue.end, ".")}\n${cue.lines.map((line) => `${escaped(line)}\n`).join("")}`)
    .join("")}`;
}
