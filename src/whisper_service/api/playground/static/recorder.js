// The microphone, as a file.

const TYPES = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"];

/** Why this page may not record; null: it may. */
export function obstacle() {
  if (!navigator.mediaDevices?.getUserMedia) return "Browsers record only over https, or from this machine itself (localhost).";
  if (!globalThis.MediaRecorder) return "This browser cannot record.";
  return null;
}

export class Recorder {
  #stream;
  #recorder;
  #context;
  #analyser;
  #chunks = [];

  /** Asks for the microphone; throws a DOMException where it is refused. */
  static async start() {
    const recorder = new Recorder();
    await recorder.#open();
    return recorder;
  }

  async #open() {
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, noiseSuppression: false } });
    this.#context = new AudioContext();
    this.#analyser = new AnalyserNode(this.#context, { fftSize: 1024 });
    this.#context.createMediaStreamSource(this.#stream).connect(this.#analyser);
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    this.#recorder = new MediaRecorder(this.#stream, { ...(mimeType && { mimeType }), audioBitsPerSecond: 64_000 });
    this.#recorder.ondataavailable = (event) => this.#chunks.push(event.data);
    this.#recorder.start(1000);
  }

  /** How loud it is now: 0 to 1. */
  get level() {
    const samples = new Float32Array(this.#analyser.fftSize);
    this.#analyser.getFloatTimeDomainData(samples);
    return Math.min(1, Math.max(...samples.map(Math.abs)) * 1.4);
  }

  /** Ends it, and gives the file. */
  async stop() {
    const stopped = new Promise((resolve) => { this.#recorder.onstop = resolve; });
    if (this.#recorder.state !== "inactive") {
      this.#recorder.stop();
      await stopped;
    }
    this.#release();
    const type = this.#recorder.mimeType.split(";")[0];
    const ending = { "audio/webm": "webm", "audio/ogg": "ogg", "audio/mp4": "m4a" }[type] ?? "webm";
    return new File(this.#chunks, `recording.${ending}`, { type });
  }

  discard() {
    this.#recorder.onstop = null;
    if (this.#recorder.state !== "inactive") this.#recorder.stop();
    this.#release();
  }

  #release() {
    this.#stream.getTracks().forEach((track) => track.stop());
    this.#context.close();
  }
}

/** Draws how loud it was lately, and goes on until it is told to stop. */
export function drawLevel(canvas, recorder) {
  const levels = [];
  let frame = 0;
  let last = 0;
  const draw = (now) => {
    frame = requestAnimationFrame(draw);
    if (now - last < 45) return;
    last = now;
    const ratio = devicePixelRatio || 1;
    const [wide, high] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(wide * ratio)) {
      canvas.width = Math.round(wide * ratio);
      canvas.height = Math.round(high * ratio);
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, wide, high);
    context.fillStyle = getComputedStyle(canvas).caretColor;
    levels.push(recorder.level);
    if (levels.length > wide / 5) levels.shift();
    levels.forEach((level, index) => {
      const bar = Math.max(2, level * high);
      context.beginPath();
      context.roundRect(wide - (levels.length - index) * 5, (high - bar) / 2, 3, bar, 1.5);
      context.fill();
    });
  };
  frame = requestAnimationFrame(draw);
  return () => cancelAnimationFrame(frame);
}
