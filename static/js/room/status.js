import { number, seconds } from "rollcall/clock"
import { fromTemplate } from "rollcall/dom"

/** The state of the connection, in the foot: live and how far, or lost and until when. */
export class Status {
  #element
  #renew
  #state = { name: "connecting" }
  #seq = 0

  constructor(element, { onrenew }) {
    this.#element = element
    this.#renew = onrenew
    element.addEventListener("click", ({ target }) => target.closest("button") && this.#renew())
    setInterval(() => this.#state.name === "waiting" && this.#draw(), 1_000)
  }

  set state(state) {
    this.#state = state
    this.#draw()
  }

  /** The highest number with nothing missing below it. */
  set seq(seq) {
    this.#seq = seq
    if (this.#state.name === "live") this.#draw()
  }

  #draw() {
    const name = this.#name
    if (this.#element.dataset.state !== name) {
      this.#element.dataset.state = name
      this.#element.replaceChildren(fromTemplate(`status-${name}`))
    }
    const wait = Math.max(1, Math.ceil((this.#state.until - Date.now()) / 1000))
    this.#fill({ seq: number(this.#seq), wait: wait ? seconds(wait) : undefined })
  }

  get #name() {
    if (this.#state.name === "waiting" && !navigator.onLine) return "offline"
    return this.#state.name.replace(" ", "-")
  }

  #fill(slots) {
    for (const slot of this.#element.querySelectorAll("[data-slot]")) {
      const text = slots[slot.dataset.slot]
      if (slot.textContent !== text) slot.textContent = text
    }
  }
}
