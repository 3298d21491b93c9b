const PAUSE = 300

/** What stands in the message box, kept while it is typed. */
export class Draft {
  #drawer
  #box
  #timer

  constructor(drawer, box) {
    this.#drawer = drawer
    this.#box = box
    box.value ||= drawer.get("text") ?? ""
    box.addEventListener("input", () => this.#soon())
    addEventListener("pagehide", () => this.save())
    document.addEventListener("visibilitychange", () => this.save())
  }

  save() {
    clearTimeout(this.#timer)
    if (this.#box.value) this.#drawer.set("text", this.#box.value)
    else this.#drawer.remove("text")
  }

  #soon() {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.save(), PAUSE)
  }
}
