import { list, number, range } from "rollcall/clock"
import { fromTemplate } from "rollcall/dom"

const NAMED = 3

/** Some comings and goings on end, told by one row; its button shows and hides them. */
export class Fold {
  #rows = []
  #open = false
  #button

  constructor() {
    this.element = fromTemplate("row-fold")
    this.#button = this.element.querySelector("button")
    this.#button.addEventListener("click", () => this.#toggle())
  }

  /** Tells these rows, and stands before them. */
  hold(rows) {
    this.#rows = rows
    this.#tell()
    this.#show()
    if (rows[0].element.previousElementSibling !== this.element) rows[0].element.before(this.element)
  }

  /** Lets its rows stand for themselves again. */
  dissolve() {
    for (const row of this.#rows) row.element.hidden = false
    this.element.remove()
  }

  #toggle() {
    this.#open = !this.#open
    this.#show()
  }

  #show() {
    this.#button.setAttribute("aria-expanded", this.#open)
    for (const row of this.#rows) row.element.hidden = !this.#open
  }

  #tell() {
    const names = [...new Set(this.#rows.map(({ event }) => event.user?.name ?? ""))]
    const shown = names.length > NAMED ? names.slice(0, NAMED - 1) : names
    const more = names.length - shown.length
    const sentence = fromTemplate(`fold-${this.#direction}${more ? "-more" : ""}`, {
      names: more ? shown.join(", ") : list(shown),
      count: number(more),
      when: range(this.#rows[0].at, this.#rows.at(-1).at),
    })
    this.element.dataset.direction = this.#direction
    this.element.querySelector("[data-slot=sentence]").replaceChildren(sentence)
  }

  get #direction() {
    if (this.#rows.every((row) => row.isComing)) return "in"
    return this.#rows.every((row) => row.isGoing) ? "out" : "both"
  }
}
