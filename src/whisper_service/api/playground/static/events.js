// Server-sent events out of a text that grows.

/** Yields the JSON payloads of what is complete; `[DONE]` and comments are none. */
export class EventReader {
  #read = 0;

  *next(text) {
    for (;;) {
      const end = text.indexOf("\n\n", this.#read);
      if (end < 0) return;
      const block = text.slice(this.#read, end);
      this.#read = end + 2;
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}
