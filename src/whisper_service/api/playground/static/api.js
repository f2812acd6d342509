// The service's public API, asked as any other client asks it.

import { EventReader } from "./events.js";

const API = "api/v1/"; // relative: the page also works behind a proxy that adds a prefix

/** What the service said when it refused, or why there was no answer. */
export class Refusal extends Error {
  constructor(message, { status = 0, code = null, param = null, requestId = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, code, param, requestId, retryAfter });
  }

  static of(status, body, header) {
    const known = { status, requestId: header("x-request-id"), retryAfter: Number(header("retry-after")) || null };
    try {
      const { message, code, param } = JSON.parse(body).error;
      return new Refusal(message, { ...known, code, param });
    } catch {
      return new Refusal(`The server answered with status ${status} and nothing that says why.`, known);
    }
  }
}

function headers(key) {
  return key ? { authorization: `Bearer ${key}` } : {};
}

export async function describeService() {
  const answer = await fetch("playground/service.json");
  if (!answer.ok) throw Refusal.of(answer.status, await answer.text(), (name) => answer.headers.get(name));
  return answer.json();
}

/** The name under which the served model is asked for, and the one to show. */
export async function findModel(key) {
  const answer = await fetch(`${API}models`, { headers: headers(key) });
  if (!answer.ok) throw Refusal.of(answer.status, await answer.text(), (name) => answer.headers.get(name));
  const names = (await answer.json()).data.map((model) => model.id);
  return { shown: names[0], asked: names.includes("whisper-1") ? "whisper-1" : names[0] };
}

/**
 * Sends a recording; `stop` gives it up.
 *
 * XMLHttpRequest, because fetch does not tell how much of an upload has gone.
 *
 * `on` is told of: upload(sent, total), uploaded(), segment(segment), text(more). `done` gives a
 * verbose_json body or throws a Refusal.
 */
export function transcribe(file, { model, language, task }, key, on) {
  const streams = task === "transcribe"; // translations have no event stream
  const form = new FormData();
  form.append("model", model);
  form.append("response_format", "verbose_json");
  if (streams) form.append("stream", "true");
  if (language && task === "transcribe") form.append("language", language);
  if (task === "transcribe") {
    form.append("timestamp_granularities[]", "word");
    form.append("timestamp_granularities[]", "segment");
  }
  form.append("file", file, file.name); // last: a wrong field is told before the file has come

  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    const header = (name) => request.getResponseHeader(name);
    const events = new EventReader();
    const transcript = { segments: [], words: [], end: null, failure: null };

    const read = () => {
      if (request.status !== 200 || !streams) return;
      for (const event of events.next(request.responseText)) take(event, transcript, on, header);
    };
    request.upload.onprogress = (event) => on.upload(event.loaded, event.total);
    request.upload.onload = () => on.uploaded();
    request.onprogress = read;
    request.onabort = () => reject(new DOMException("given up", "AbortError"));
    request.onerror = () => reject(new Refusal("The connection to the server broke off, or there is none."));
    request.onload = () => {
      if (request.status !== 200) return reject(Refusal.of(request.status, request.responseText, header));
      if (!streams) return resolve(JSON.parse(request.responseText));
      read();
      if (transcript.failure) return reject(transcript.failure);
      if (!transcript.end) return reject(new Refusal("The answer broke off before its end."));
      resolve(verboseJson(transcript));
    };
  });
  request.open("POST", `${API}audio/${task === "translate" ? "translations" : "transcriptions"}`);
  for (const [name, value] of Object.entries(headers(key))) request.setRequestHeader(name, value);
  request.send(form);
  return { done, stop: () => request.abort() };
}

function take(event, transcript, on, header) {
  if (event.error) {
    const { message, code, param } = event.error;
    transcript.failure = new Refusal(message, { status: 200, code, param, requestId: header("x-request-id") });
  } else if (event.type === "transcript.text.delta") {
    on.text(event.delta);
  } else if (event.type === "transcript.text.segment") {
    const { type, ...segment } = event;
    transcript.segments.push(segment);
    on.segment(segment);
  } else if (event.type === "transcript.text.done") {
    transcript.end = event;
  }
}

/** The events put together as the body that `response_format=verbose_json` has. */
function verboseJson({ segments, end }) {
  const { task, language, duration, text } = end;
  const words = end.words ?? segments.flatMap((segment) => segment.words ?? []);
  return {
    task, language, duration, text, segments,
    ...(words.length ? { words } : {}),
    usage: { type: "duration", seconds: Math.ceil(duration) },
  };
}
