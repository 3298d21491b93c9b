const PAUSE = 300

/** What stands in the message box, kept while it is typed. */
export class Draft {
  #storage
  #box
  #timer

  constructor(storage, box) {
    this.#storage = storage
    this.#box = box
    box.value ||= storage.get("text") ?? ""
    box.addEventListener("input", () => this.#soon())
    addEventListener("pagehide", () => this.save())
    document.addEventListener("visibilitychange", () => this.save())
  }

  save() {
    clearTimeout(this.#timer)
    if (this.#box.value) this.#storage.set("text", this.#box.value)
    else this.#storage.remove("text")
  }

  #soon() {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.save(), PAUSE)
  }
}
