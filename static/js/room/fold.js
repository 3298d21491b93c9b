import { list, number, range } from "rollcall/clock"
import { fromTemplate } from "rollcall/dom"

const NAMED = 3

/** Some comings and goings on end, told by one line; its button shows and hides them. */
export class Fold {
  #lines = []
  #open = false
  #button

  constructor() {
    this.element = fromTemplate("line-fold")
    this.#button = this.element.querySelector("button")
    this.#button.addEventListener("click", () => this.#toggle())
  }

  /** Tells these lines, and stands before them. */
  hold(lines) {
    this.#lines = lines
    this.#tell()
    this.#show()
    if (lines[0].element.previousElementSibling !== this.element) lines[0].element.before(this.element)
  }

  /** Lets its lines stand for themselves again. */
  dissolve() {
    for (const line of this.#lines) line.element.hidden = false
    this.element.remove()
  }

  #toggle() {
    this.#open = !this.#open
    this.#show()
  }

  #show() {
    this.#button.setAttribute("aria-expanded", this.#open)
    for (const line of this.#lines) line.element.hidden = !this.#open
  }

  #tell() {
    const names = [...new Set(this.#lines.map(({ event }) => event.user?.name ?? ""))]
    const shown = names.length > NAMED ? names.slice(0, NAMED - 1) : names
    const more = names.length - shown.length
    const sentence = fromTemplate(`fold-${this.#direction}${more ? "-more" : ""}`, {
      names: more ? shown.join(", ") : list(shown),
      count: number(more),
      when: range(this.#lines[0].at, this.#lines.at(-1).at),
    })
    this.element.dataset.direction = this.#direction
    this.element.querySelector("[data-slot=sentence]").replaceChildren(sentence)
  }

  get #direction() {
    if (this.#lines.every((line) => line.isComing)) return "in"
    return this.#lines.every((line) => line.isGoing) ? "out" : "both"
  }
}
