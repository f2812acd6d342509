// The recording, played beside its text: an audio element, and a waveform to point at.

import { clock, spoken } from "./clock.js";

const BAR = 3; // pixels: two of bar, one between
const DECODED_SECONDS = 45 * 60; // longer ones get no waveform: decoded they would fill the tab's memory
const RATE = 8000; // Hz, enough to be looked at; the lowest that browsers decode to
const SPEEDS = [1, 1.25, 1.5, 2, 0.75];

export class Player {
  #audio;
  #canvas;
  #peaks = null;
  #segments = [];
  #hover = null;
  #url = null;
  #file = null;
  #elements;
  #onTime;
  #turn = 0; // of loading: an older recording's waveform comes too late

  constructor(elements, { onTime, onUnplayable }) {
    this.#elements = elements;
    this.#audio = elements.audio;
    this.#canvas = elements.waveform;
    this.#onTime = onTime;

    const audio = this.#audio;
    elements.play.addEventListener("click", () => this.toggle());
    elements.speed.addEventListener("click", () => this.#nextSpeed());
    audio.addEventListener("play", () => this.#shownAs(true));
    audio.addEventListener("pause", () => this.#shownAs(false));
    audio.addEventListener("ended", () => this.#shownAs(false));
    audio.addEventListener("timeupdate", () => this.#tell());
    audio.addEventListener("seeking", () => this.#tell());
    audio.addEventListener("loadedmetadata", () => this.#measure());
    audio.addEventListener("durationchange", () => this.#tell());
    audio.addEventListener("error", () => { if (audio.getAttribute("src")) onUnplayable(); });

    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.seek(this.#secondsAt(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      this.#hover = event.offsetX;
      if (canvas.hasPointerCapture(event.pointerId)) this.seek(this.#secondsAt(event));
      this.draw();
    });
    canvas.addEventListener("pointerleave", () => { this.#hover = null; this.draw(); });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  get duration() {
    return Number.isFinite(this.#audio.duration) ? this.#audio.duration : 0;
  }

  get time() {
    return this.#audio.currentTime;
  }

  get playing() {
    return !this.#audio.paused;
  }

  load(file) {
    this.#turn += 1;
    this.#audio.pause();
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = URL.createObjectURL(file);
    this.#file = file;
    this.#peaks = null;
    this.#segments = [];
    this.#audio.src = this.#url;
    this.draw();
  }

  mark(segments) {
    this.#segments = segments;
    this.draw();
  }

  toggle() {
    if (this.#audio.paused) this.#audio.play().catch(() => this.#shownAs(false));
    else this.#audio.pause();
  }

  pause() {
    this.#audio.pause();
  }

  seek(seconds) {
    this.#audio.currentTime = Math.min(Math.max(seconds, 0), this.duration || seconds);
    this.#tell();
  }

  /** A browser's own recording does not say how long it is, until its end has been looked at. */
  #measure() {
    const turn = this.#turn;
    const measured = () => { if (turn === this.#turn) this.#tell(), this.#decode(turn); };
    if (Number.isFinite(this.#audio.duration)) return measured();
    const look = () => {
      if (!Number.isFinite(this.#audio.duration)) return;
      this.#audio.removeEventListener("durationchange", look);
      this.#audio.currentTime = 0;
      measured();
    };
    this.#audio.addEventListener("durationchange", look);
    this.#audio.currentTime = Number.MAX_SAFE_INTEGER;
  }

  async #decode(turn) {
    if (this.duration > DECODED_SECONDS) return;
    try {
      const context = new OfflineAudioContext(1, 1, RATE);
      const decoded = await context.decodeAudioData(await this.#file.arrayBuffer());
      if (turn !== this.#turn) return;
      this.#peaks = peaks(decoded.getChannelData(0), 2000);
      this.draw();
    } catch {
      // It may play all the same; the segments' places are drawn then.
    }
  }

  #secondsAt(event) {
    return (event.offsetX / this.#canvas.clientWidth) * this.duration;
  }

  #key(event) {
    const steps = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, PageDown: -30, PageUp: 30 };
    if (event.key in steps) this.seek(this.time + steps[event.key]);
    else if (event.key === "Home") this.seek(0);
    else if (event.key === "End") this.seek(this.duration);
    else if (event.key === " " || event.key === "Enter") this.toggle();
    else return;
    event.preventDefault();
  }

  #nextSpeed() {
    const speed = SPEEDS[(SPEEDS.indexOf(this.#audio.playbackRate) + 1) % SPEEDS.length];
    this.#audio.playbackRate = speed;
    this.#elements.speed.textContent = `${speed}×`;
    this.#elements.speed.setAttribute("aria-label", `Speed: ${speed} times`);
  }

  #shownAs(playing) {
    const { play } = this.#elements;
    play.toggleAttribute("data-playing", playing);
    play.setAttribute("aria-label", playing ? "Pause" : "Play");
    if (playing) this.#follow();
  }

  /** `timeupdate` comes four times a second: too seldom to mark words by. */
  #follow() {
    this.#tell();
    if (!this.#audio.paused && !this.#audio.ended) requestAnimationFrame(() => this.#follow());
  }

  #tell() {
    const { time, duration } = this.#elements;
    const shown = clock(this.time);
    if (time.textContent !== shown) time.textContent = shown;
    duration.textContent = clock(this.duration);
    this.#canvas.setAttribute("aria-valuemax", String(Math.round(this.duration)));
    this.#canvas.setAttribute("aria-valuenow", String(Math.round(this.time)));
    this.#canvas.setAttribute("aria-valuetext", `${spoken(this.time)} of ${spoken(this.duration)}`);
    this.draw();
    this.#onTime(this.time);
  }

  draw() {
    const canvas = this.#canvas;
    const [wide, high] = [canvas.clientWidth, canvas.clientHeight];
    if (!wide) return;
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(wide * ratio) || canvas.height !== Math.round(high * ratio)) {
      canvas.width = Math.round(wide * ratio);
      canvas.height = Math.round(high * ratio);
    }
    const context = canvas.getContext("2d");
    const { color: rest, caretColor: played } = getComputedStyle(canvas);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, wide, high);
    const duration = this.duration;
    const position = duration ? (this.time / duration) * wide : 0;

    const bars = Math.floor(wide / BAR);
    for (let index = 0; index < bars; index += 1) {
      const x = index * BAR;
      const bar = Math.max(2, this.#loudness(index / bars, (index + 1) / bars) * (high - 6));
      context.fillStyle = x < position ? played : rest;
      context.beginPath();
      context.roundRect(x, (high - bar) / 2, BAR - 1, bar, 1);
      context.fill();
    }
    context.fillStyle = played;
    if (duration && this.time > 0) context.fillRect(Math.min(position, wide - 2), 0, 2, high);
    if (this.#hover !== null) {
      context.globalAlpha = 0.35;
      context.fillRect(this.#hover, 0, 1, high);
      context.globalAlpha = 1;
    }
  }

  /** 0 to 1 between two places, 0 and 1 being the recording's ends. */
  #loudness(from, to) {
    if (this.#peaks) {
      const [first, last] = [Math.floor(from * this.#peaks.length), Math.ceil(to * this.#peaks.length)];
      let loudest = 0;
      for (let index = first; index < last; index += 1) loudest = Math.max(loudest, this.#peaks[index]);
      return loudest;
    }
    const [start, end] = [from * this.duration, to * this.duration];
    return this.#segments.some((segment) => segment.start < end && start < segment.end) ? 0.35 : 0;
  }
}

/** The loudest sample of each of `count` stretches, the loudest of all being 1. */
export function peaks(samples, count) {
  const found = new Float32Array(Math.min(count, samples.length));
  let loudest = 0.02; // silence is not blown up
  for (let index = 0; index < found.length; index += 1) {
    const end = Math.floor(((index + 1) * samples.length) / found.length);
    for (let at = Math.floor((index * samples.length) / found.length); at < end; at += 1) {
      const value = Math.abs(samples[at]);
      if (value > found[index]) found[index] = value;
    }
    loudest = Math.max(loudest, found[index]);
  }
  return found.map((value) => value / loudest);
}
