import { number } from "rollcall/clock"
import { fill } from "rollcall/dom"
import { counted } from "rollcall/plural"

/** The button down to the newest row, with the count of rows that came while reading above. */
export class Jump {
  #button
  #count
  #unseen = 0

  constructor(button, onjump) {
    this.#button = button
    this.#count = button.querySelector("[data-unseen]")
    button.addEventListener("click", onjump)
  }

  add(count) { this.#show(this.#unseen + count) }

  set isNeeded(value) {
    this.#button.hidden = !value
    if (!value) this.#show(0)
  }

  #show(unseen) {
    if (unseen === this.#unseen) return
    this.#unseen = unseen
    this.#count.hidden = !unseen
    fill(this.#count, { count: number(unseen), sentence: counted("new-messages", unseen) })
  }
}
