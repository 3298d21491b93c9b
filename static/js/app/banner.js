import { fromTemplate } from "rollcall/dom"

/** A calm word above the message box, when the page cannot go on by itself. */
export class Banner {
  #element

  constructor(element) { this.#element = element }

  show(id, slots) {
    this.#element.replaceChildren(fromTemplate(id, slots))
    this.#element.hidden = false
  }

  hide() { this.#element.hidden = true }
}
