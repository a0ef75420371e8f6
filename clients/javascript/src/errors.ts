// Why something was not done. Used by every file here.

/** A refusal by the server, or by this client: `offline`, `timeout`, `full`, `too-long`, `cancelled`, `closed`. */
export class ChatError extends Error {
  override name = "ChatError";
  /** The name of the reason. Sentences may change, names do not. */
  readonly code: string;
  /** In how many milliseconds the same may succeed. */
  readonly again_ms: number | undefined;

  constructor(code: string, text: string, again_ms?: number) {
    super(text);
    this.code = code;
    this.again_ms = again_ms;
  }

  /** Whether the very same request may succeed later. */
  get passing(): boolean {
    return /^(too-fast|busy|slow-mode|shutting-down|offline|timeout)$|^store-/.test(this.code);
  }
}
