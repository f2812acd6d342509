// The page's state, and what happens when something is pressed.

import { Refusal, describeService, findModel, transcribe } from "./api.js";
import * as calls from "./calls.js";
import { clock, size } from "./clock.js";
import { Player } from "./player.js";
import { Recorder, drawLevel, obstacle } from "./recorder.js";
import { srt, vtt } from "./subtitles.js";
import { TranscriptView } from "./transcript.js";

const $ = (id) => document.getElementById(id);
const KEY = "api-key"; // in sessionStorage: of this tab, until it is closed
const ASK_AGAIN = 2000; // milliseconds, while the service starts

const page = {
  service: null, // what service.json says
  model: null,
  file: null,
  job: null, // {stop}, while one is under way
  heard: [], // the segments so far
  asked: null, // the options of the transcript that is shown
  answer: null, // a verbose_json body
  recorder: null,
};

const transcript = new TranscriptView($("segments"), (seconds) => player.seek(seconds));
const player = new Player(
  { audio: $("audio"), waveform: $("waveform"), play: $("play"), speed: $("speed"), time: $("time"), duration: $("duration") },
  {
    onTime: (seconds) => (player.playing || seconds > 0 ? transcript.mark(seconds, player.playing) : transcript.unmark()),
    onUnplayable: () => { $("unplayable").hidden = false; $("player").hidden = true; },
  },
);

// The service

const key = () => sessionStorage.getItem(KEY);
let meeting = null;

async function meet() {
  try {
    page.service ??= await describeService();
    describe(page.service);
    if (page.service.needs_key && !key()) return askForKey("");
    page.model = await findModel(key());
    $("key-form").hidden = true;
    showState("ready", page.model.shown);
  } catch (refusal) {
    if (refusal.status === 401) return askForKey(refusal.message);
    showState(refusal.status === 503 ? "waiting" : "failed", refusal.status ? refusal.message : "no answer from the service");
    clearTimeout(meeting);
    meeting = setTimeout(meet, ASK_AGAIN);
  }
}

function showState(state, text) {
  $("service").dataset.state = state;
  if ($("service-text").textContent !== text) $("service-text").textContent = text;
  $("service").title = text;
}

function askForKey(why) {
  showState("waiting", "needs a key");
  const wrong = Boolean(key());
  sessionStorage.removeItem(KEY);
  $("key-hint").textContent = wrong ? why : "This service asks for one. It is kept in this tab until you close it.";
  $("key-form").hidden = false;
  $("key").focus();
}

function describe({ version, languages, formats, max_upload_bytes, max_audio_seconds, docs }) {
  $("version").textContent = version;
  $("docs-link").hidden = !docs;
  const hours = max_audio_seconds / 3600;
  const long = hours >= 1 ? `${Number(hours.toFixed(1))} hour${hours === 1 ? "" : "s"}` : `${Math.round(max_audio_seconds / 60)} minutes`;
  $("limits").textContent = `${formats.join(", ")} · up to ${size(max_upload_bytes)} and ${long}`;
  if ($("language").length > 1) return;
  const names = Object.entries(languages).map(([code, name]) => [code, name.replace(/\b\w/g, (letter) => letter.toUpperCase())]);
  names.sort((a, b) => a[1].localeCompare(b[1]));
  $("language").append(...names.map(([code, name]) => new Option(name, code)));
  if (!names.length) {
    $("language").options[0].textContent = "English";
    $("task").options[1].disabled = true;
  }
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const value = $("key").value.trim();
  if (!value) return;
  sessionStorage.setItem(KEY, value);
  $("key").value = "";
  meet().then(() => { if (page.file && !page.answer && !page.job && page.model) begin(page.file); });
});

// A recording comes in

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  $("file").value = ""; // so that the same one can be chosen again
  if (file) begin(file);
});

let dragged = 0;
const holdsFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragenter", (event) => { if (holdsFile(event)) $("veil").classList.toggle("shown", (dragged += 1) > 0); });
addEventListener("dragleave", (event) => { if (holdsFile(event)) $("veil").classList.toggle("shown", (dragged -= 1) > 0); });
addEventListener("dragover", (event) => { if (holdsFile(event)) event.preventDefault(); });
addEventListener("drop", (event) => {
  if (!holdsFile(event)) return;
  event.preventDefault();
  dragged = 0;
  $("veil").classList.remove("shown");
  const [file] = event.dataTransfer.files;
  if (file && !page.recorder) begin(file);
});

const hindrance = obstacle();
if (hindrance) {
  $("record").disabled = true;
  $("record").title = hindrance;
}

$("record").addEventListener("click", async () => {
  try {
    player.pause();
    page.recorder = await Recorder.start();
  } catch (error) {
    const why = error.name === "NotAllowedError" ? "The browser was not allowed to use the microphone." : `No microphone can be used: ${error.message}`;
    return showProblem("Nothing was recorded", why, "", null);
  }
  clearProblem();
  const began = Date.now();
  $("invite").hidden = true;
  $("recording").hidden = false;
  $("stop").focus();
  announce("Recording");
  const stopDrawing = drawLevel($("level"), page.recorder);
  const ticking = setInterval(() => { $("recording-time").textContent = clock((Date.now() - began) / 1000); }, 250);
  page.recorder.ended = () => {
    clearInterval(ticking);
    stopDrawing();
    page.recorder = null;
    $("recording-time").textContent = "0:00";
    $("recording").hidden = true;
    $("invite").hidden = false;
  };
});

$("stop").addEventListener("click", async () => {
  const { recorder } = page;
  const file = await recorder.stop();
  recorder.ended();
  begin(file);
  $("cancel").focus();
});

$("discard").addEventListener("click", () => {
  page.recorder.discard();
  page.recorder.ended();
  $("record").focus();
});

// A recording becomes text

function begin(file) {
  page.job?.stop();
  page.file = file;
  page.answer = null;
  clearProblem();
  transcript.clear();
  player.load(file);
  $("player").hidden = false;
  $("unplayable").hidden = $("empty").hidden = true;
  $("facts").textContent = "";
  $("plain").textContent = "";
  $("file-name").textContent = file.name;
  $("file-size").textContent = size(file.size);
  $("call").hidden = $("result").hidden = true;
  if (page.service && file.size > page.service.max_upload_bytes) {
    stage("idle");
    return showProblem("Too large", `${file.name} is ${size(file.size)}. This service takes up to ${size(page.service.max_upload_bytes)}.`, "", null);
  }
  send();
}

async function send() {
  clearProblem();
  if (!page.model) {
    await meet();
    if (!page.model) {
      if ($("key-form").hidden) showProblem("The service is not ready", $("service-text").textContent, "", send);
      return;
    }
  }
  const file = page.file;
  page.asked = { language: $("language").value, task: $("task").value, model: page.model.asked };
  const job = transcribe(file, page.asked, key(), {
    upload: (sent, total) => { if (page.job === job) showUpload(sent, total); },
    uploaded: () => { if (page.job === job) showWork(file); },
    text: () => {},
    segment: (segment) => { if (page.job === job) showSegment(segment); },
  });
  page.job = job;
  stage("busy");
  showUpload(0, file.size);
  const began = performance.now();
  try {
    const answer = await job.done;
    if (page.job !== job) return;
    page.job = null;
    page.answer = answer;
    finish((performance.now() - began) / 1000);
  } catch (refusal) {
    if (page.job !== job) return;
    page.job = null;
    fail(refusal);
  }
}

function showUpload(sent, total) {
  $("progress").setAttribute("aria-label", "Upload");
  $("job-text").textContent = sent < total ? `Uploading, ${size(sent)} of ${size(total)}` : "Uploading";
  progress(total ? sent / total : 0);
}

function showWork() {
  $("progress").setAttribute("aria-label", "Transcription");
  $("job-text").textContent = page.asked.task === "translate" ? "Translating" : "Listening";
  progress(null);
  announce($("job-text").textContent);
}

function showSegment(segment) {
  page.heard.push(segment);
  $("result").hidden = false;
  transcript.add(segment, true);
  player.mark(page.heard);
  const total = player.duration;
  if (total) {
    progress(Math.min(1, segment.end / total));
    $("job-text").textContent = `Heard ${clock(segment.end)} of ${clock(total)}`;
  } else {
    $("job-text").textContent = `Heard ${clock(segment.end)}`;
  }
  showFormat();
}

function finish(seconds) {
  const { answer } = page;
  stage("done");
  $("result").hidden = false;
  $("again").hidden = true;
  $("job-text").textContent = "";
  transcript.show(answer.segments);
  player.mark(answer.segments);
  $("empty").hidden = answer.segments.length > 0;
  const language = answer.language.replace(/\b\w/g, (letter) => letter.toUpperCase());
  $("facts").textContent = [language, clock(answer.duration), `in ${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`].join(" · ");
  showFormat();
  showCall();
  announce(answer.segments.length ? `Done: ${answer.segments.length} segments, ${language}` : "Done: nobody speaks in this recording");
}

function fail(refusal) {
  if (refusal.name === "AbortError") return reset();
  stage(page.heard.length ? "done" : "idle");
  $("again").hidden = true;
  $("job").hidden = true;
  $("result").hidden = !page.heard.length;
  if (refusal.status === 401) askForKey(refusal.message);
  const title = { 400: "This cannot be transcribed", 401: "A key is needed", 404: "Not served here", 413: "Too large", 429: "The service is busy", 503: "The service is not ready" }[refusal.status] ?? "That did not work";
  const detail = [refusal.status || null, refusal.code, refusal.requestId].filter(Boolean).join(" · ");
  const message = refusal instanceof Refusal ? refusal.message : String(refusal);
  showProblem(title, message, detail, refusal.status === 401 ? null : send);
}

function reset() {
  stage(page.answer ? "done" : "idle");
  page.heard = [];
  $("job").hidden = true;
  $("result").hidden = true;
  announce("Cancelled");
  $("choose").focus();
}

$("cancel").addEventListener("click", () => page.job?.stop());
$("again").addEventListener("click", () => begin(page.file));
for (const id of ["language", "task"]) {
  $(id).addEventListener("change", () => {
    if (!page.answer) return;
    const same = page.asked.language === $("language").value && page.asked.task === $("task").value;
    $("again").hidden = same;
  });
}

/** idle: nothing yet; busy: a job is under way; done: its text is here. */
function stage(name) {
  document.body.dataset.stage = name;
  for (const button of document.querySelectorAll("[data-download]")) button.disabled = !page.answer;
  $("job").hidden = name === "idle";
  $("cancel").hidden = name !== "busy";
  if (name === "busy") {
    page.heard = [];
    transcript.clear();
    clearProblem();
    $("again").hidden = true;
    $("result").hidden = true;
  }
}

/** 0 to 1; null: nobody knows. */
function progress(done) {
  const bar = $("progress");
  bar.classList.toggle("unsure", done === null);
  if (done === null) return bar.removeAttribute("aria-valuenow");
  bar.setAttribute("aria-valuenow", String(Math.round(done * 100)));
  bar.firstElementChild.style.setProperty("--done", done.toFixed(4));
}

function showProblem(title, text, detail, retry) {
  $("problem-title").textContent = title;
  $("problem-text").textContent = text;
  $("problem-detail").textContent = detail;
  $("problem-detail").hidden = !detail;
  $("retry").hidden = !retry;
  $("retry").onclick = retry;
  $("problem").hidden = false;
}

function clearProblem() {
  $("problem").hidden = true;
}

function announce(text) {
  $("announce").textContent = text;
}

// The text in other forms

const FORMS = {
  txt: () => `${page.answer.text}\n`,
  text: () => `${page.answer.text}\n`,
  srt: () => srt(page.answer.segments),
  vtt: () => vtt(page.answer.segments),
  json: () => `${JSON.stringify(page.answer, null, 2)}\n`,
};

function showFormat() {
  const format = $("format").value;
  const listed = format === "verbose_json" || !page.answer || !page.answer.segments.length;
  $("segments").hidden = !listed;
  $("plain").hidden = listed;
  if (!listed) {
    $("plain").dataset.format = format;
    const { text, usage } = page.answer;
    $("plain").textContent = format === "json" ? JSON.stringify({ text, usage }, null, 2) : FORMS[format]();
  }
}

$("format").addEventListener("change", () => {
  showFormat();
  if (page.answer) showCall();
});

$("copy").addEventListener("click", () => {
  const format = $("format").value;
  copy($("copy"), format === "verbose_json" || !page.answer ? text() : $("plain").textContent);
});

function text() {
  return page.answer ? page.answer.text : page.heard.map((segment) => segment.text).join("").trim();
}

for (const button of document.querySelectorAll("[data-download]")) {
  const ending = button.dataset.download;
  button.setAttribute("aria-label", `Download ${ending}`);
  button.addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([FORMS[ending]()], { type: ending === "json" ? "application/json" : "text/plain" }));
    const link = Object.assign(document.createElement("a"), { href: url, download: `${page.file.name.replace(/\.[^.]+$/, "")}.${ending}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  });
}

async function copy(button, content) {
  const before = button.dataset.label ?? button.textContent;
  button.dataset.label = before;
  button.textContent = (await toClipboard(content)) ? "Copied" : "Could not copy";
  announce(button.textContent);
  setTimeout(() => { button.textContent = before; }, 1600);
}

async function toClipboard(content) {
  try {
    await navigator.clipboard.writeText(content);
    return true;
  } catch {
    // Without https there is no clipboard to write to: the old way, over a selection.
    const area = Object.assign(document.createElement("textarea"), { value: content, className: "visually-hidden" });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

// The call

const TABS = ["curl", "python", "javascript"];
let tab = "curl";

function showCall() {
  const call = {
    ...page.asked,
    base: new URL("api/v1", document.baseURI).href,
    fileName: page.file.name,
    format: $("format").value,
    words: Boolean(page.answer?.words),
    needsKey: page.service.needs_key,
  };
  $("snippet").textContent = calls[tab](call);
  $("call").hidden = false;
}

for (const name of TABS) {
  $(`tab-${name}`).addEventListener("click", () => choose(name));
  $(`tab-${name}`).addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const next = TABS[(TABS.indexOf(tab) + step + TABS.length) % TABS.length];
    choose(next);
    $(`tab-${next}`).focus();
  });
}

function choose(name) {
  tab = name;
  for (const each of TABS) {
    $(`tab-${each}`).setAttribute("aria-selected", String(each === name));
    $(`tab-${each}`).tabIndex = each === name ? 0 : -1;
  }
  $("snippet").setAttribute("aria-labelledby", `tab-${name}`);
  showCall();
}

$("copy-call").addEventListener("click", () => copy($("copy-call"), $("snippet").textContent));

// Light and dark

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (prefersDark.matches ? "dark" : "light")) === "dark";
const showTheme = () => $("theme").setAttribute("aria-pressed", String(isDark()));

$("theme").addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  if ((theme === "dark") === prefersDark.matches) localStorage.removeItem("theme");
  else localStorage.setItem("theme", theme);
  showTheme();
  player.draw();
});
prefersDark.addEventListener("change", showTheme);

// Space plays, wherever nothing else waits for it.
addEventListener("keydown", (event) => {
  if (event.key !== " " || $("result").hidden || $("player").hidden || event.target.closest("button, input, select, a, summary, canvas, [role=tabpanel]")) return;
  event.preventDefault();
  player.toggle();
});

showTheme();
stage("idle");
meet();
