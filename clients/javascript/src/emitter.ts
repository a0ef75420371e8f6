// Who wants to hear what. Used by `chat` and `room`.

/** Calls whoever listens. `Events` says what goes with each name. */
export class Emitter<Events> {
  #heard = new Map<keyof Events, Set<(what: never) => void>>();

  /** Listens; what comes back ends it. A listener that throws harms nobody else: the error is reported as uncaught. */
  on<N extends keyof Events>(name: N, listener: (what: Events[N]) => void): () => void {
    let set = this.#heard.get(name);
    if (!set) this.#heard.set(name, (set = new Set()));
    set.add(listener);
    return () => void set.delete(listener);
  }

  /** @internal */
  tell<N extends keyof Events>(name: N, what: Events[N]): void {
    for (const listener of [...(this.#heard.get(name) ?? [])]) {
      try {
        (listener as (what: Events[N]) => void)(what);
      } catch (error) {
        queueMicrotask(() => { throw error; });
      }
    }
  }
}
