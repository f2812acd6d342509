// The segments on the page: their times, their words, how sure the model was.

import { clock, spoken } from "./clock.js";

const LONG = 200; // segments
const UNSURE = 0.6;
const DOUBTFUL = Math.exp(-1); // where Whisper itself would rather try again

export class TranscriptView {
  #list;
  #jump;
  #rows = []; // {segment, element, words: [{start, end, element}]}
  #current = null;
  #word = null;

  /** `jump(seconds)` is called where a segment or a word is clicked. */
  constructor(list, jump) {
    this.#list = list;
    this.#jump = jump;
  }

  clear() {
    this.#list.replaceChildren();
    this.#rows = [];
    this.#current = this.#word = null;
  }

  add(segment, arriving = false) {
    const row = this.#build(segment);
    if (arriving) row.element.classList.add("arriving");
    this.#rows.push(row);
    this.#list.append(row.element);
    this.#measure();
  }

  /** The segments again, as the whole answer has them. */
  show(segments) {
    this.clear();
    const fragment = document.createDocumentFragment();
    for (const segment of segments) {
      const row = this.#build(segment);
      this.#rows.push(row);
      fragment.append(row.element);
    }
    this.#list.append(fragment);
    this.#measure();
  }

  #measure() {
    this.#list.classList.toggle("long", this.#rows.length > LONG);
  }

  /** Marks what is said at a time; `follow`: and brings it into sight. */
  mark(seconds, follow) {
    const row = find(this.#rows, seconds, (each) => each.segment);
    if (row !== this.#current) {
      this.#current?.element.removeAttribute("aria-current");
      row?.element.setAttribute("aria-current", "true");
      this.#current = row;
      if (row && follow) bringIntoSight(row.element);
    }
    const word = row ? find(row.words, seconds, (each) => each) : null;
    if (word !== this.#word) {
      this.#word?.element.classList.remove("now");
      word?.element.classList.add("now");
      this.#word = word;
    }
  }

  unmark() {
    this.mark(-1, false);
  }

  #build(segment) {
    const element = document.createElement("li");
    element.className = "segment";
    const sure = Math.min(1, Math.exp(segment.avg_logprob));
    if (sure < DOUBTFUL) element.classList.add("doubtful");
    else if (sure < UNSURE) element.classList.add("unsure");

    const time = document.createElement("button");
    time.type = "button";
    time.textContent = clock(segment.start);
    time.setAttribute("aria-label", `Jump to ${spoken(segment.start)}`);

    const text = document.createElement("p");
    const words = fillText(text, segment);

    const confidence = document.createElement("span");
    confidence.className = "confidence";
    confidence.textContent = `${Math.round(sure * 100)}% sure`;
    confidence.title = `avg_logprob ${segment.avg_logprob.toFixed(2)}`;

    element.append(time, text, confidence);
    element.addEventListener("click", (event) => {
      if (String(getSelection())) return; // somebody marks text to copy it
      const word = words.find((each) => each.element === event.target);
      this.#jump(word ? word.start : segment.start);
    });
    return { segment, element, words };
  }
}

/** The text, each word of which a time is known as an element of its own. */
function fillText(target, segment) {
  const text = segment.text.trim();
  const found = [];
  let at = 0;
  for (const { word, start, end } of segment.words ?? []) {
    const bare = word.trim();
    const place = bare ? text.indexOf(bare, at) : -1;
    if (place < 0) continue;
    target.append(text.slice(at, place));
    const element = document.createElement("span");
    element.className = "word";
    element.textContent = bare;
    target.append(element);
    found.push({ start, end, element });
    at = place + bare.length;
  }
  target.append(text.slice(at));
  return found;
}

/** The last one that has begun, if it has not ended; they are in order. */
function find(items, seconds, times) {
  let [low, high] = [0, items.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times(items[middle]).start <= seconds) low = middle + 1;
    else high = middle;
  }
  const item = items[low - 1];
  return item && seconds < times(item).end ? item : null;
}

function bringIntoSight(element) {
  const { top, bottom } = element.getBoundingClientRect();
  if (top < 90 || bottom > innerHeight - 20) {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    element.scrollIntoView({ block: "center", behavior: still ? "auto" : "smooth" });
  }
}
