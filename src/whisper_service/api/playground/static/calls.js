// What was just done here, as a program would do it.

const KEY = "WHISPER_API_KEY"; // the variable that holds it: a key itself is never shown

const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const literal = (text) => JSON.stringify(text); // of Python and of JavaScript as well

/** call: {base, fileName, model, language, task, format, words, needsKey}; base ends without a slash. */
export function curl(call) {
  const fields = [`file=@${quoted(call.fileName)}`, `model=${call.model}`];
  if (call.language && call.task === "transcribe") fields.push(`language=${call.language}`);
  if (call.format !== "json") fields.push(`response_format=${call.format}`);
  if (hasWords(call)) fields.push("timestamp_granularities[]=word", "timestamp_granularities[]=segment");
  const lines = [`curl ${shell(`${call.base}/audio/${route(call)}`)}`];
  if (call.needsKey) lines.push(`-H "Authorization: Bearer $${KEY}"`);
  lines.push(...fields.map((field) => `-F ${/^[\w./@=-]+$/.test(field) ? field : shell(field)}`));
  return lines.join(" \\\n  ");
}

/** curl ends a file's name at a comma or a semicolon, unless the name stands in quotes. */
function quoted(name) {
  return /[,;"\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name;
}

export function python(call) {
  const given = [`model=${literal(call.model)}`, "file=speech"];
  if (call.language && call.task === "transcribe") given.push(`language=${literal(call.language)}`);
  if (call.format !== "json") given.push(`response_format=${literal(call.format)}`);
  if (hasWords(call)) given.push('timestamp_granularities=["word", "segment"]');
  return [
    ...(call.needsKey ? ["import os", ""] : []),
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${literal(call.base)}, api_key=${call.needsKey ? `os.environ[${literal(KEY)}]` : '"none"'})`,
    `with open(${literal(call.fileName)}, "rb") as speech:`,
    `    result = client.audio.${route(call)}.create(`,
    ...given.map((each) => `        ${each},`),
    "    )",
    `print(result${["text", "srt", "vtt"].includes(call.format) ? "" : ".text"})`,
  ].join("\n");
}

export function javascript(call) {
  const given = [`model: ${literal(call.model)}`, `file: fs.createReadStream(${literal(call.fileName)})`];
  if (call.language && call.task === "transcribe") given.push(`language: ${literal(call.language)}`);
  if (call.format !== "json") given.push(`response_format: ${literal(call.format)}`);
  if (hasWords(call)) given.push('timestamp_granularities: ["word", "segment"]');
  return [
    'import fs from "node:fs";',
    'import OpenAI from "openai";',
    "",
    `const client = new OpenAI({ baseURL: ${literal(call.base)}, apiKey: ${call.needsKey ? `process.env.${KEY}` : '"none"'} });`,
    `const result = await client.audio.${route(call)}.create({`,
    ...given.map((each) => `  ${each},`),
    "});",
    `console.log(result${["text", "srt", "vtt"].includes(call.format) ? "" : ".text"});`,
  ].join("\n");
}

function route(call) {
  return call.task === "translate" ? "translations" : "transcriptions";
}

function hasWords(call) {
  return call.words && call.format === "verbose_json" && call.task === "transcribe";
}
