const NEAR = 48

/**
 * Where a person is reading. At the end it stays at the end, whatever grows or shrinks; anywhere
 * else the row under their eyes stays where it is.
 */
export class Scroller {
  #box
  #rows
  #onmove
  #top = 0
  #atEnd = true
  #hasEnd = true

  constructor(box, rows, onmove) {
    this.#box = box
    this.#rows = rows
    this.#onmove = onmove
    box.addEventListener("scroll", () => this.#moved(), { passive: true })
    const sizes = new ResizeObserver(() => this.#hold())
    for (const element of [box, ...box.children]) sizes.observe(element)
  }

  /** Whether the newest row is on screen. */
  get atEnd() { return this.#atEnd && this.#hasEnd }

  /** Whether the end of what is drawn is the end of the room, where one may stick. */
  set hasEnd(value) {
    this.#hasEnd = value
    this.#onmove()
  }

  toEnd() {
    this.#atEnd = true
    this.#box.scrollTop = this.#box.scrollHeight
    this.#top = this.#box.scrollTop
    this.#onmove()
  }

  /** Makes a change to the rows and keeps the place. */
  keep(change) {
    if (this.atEnd) {
      change()
      return this.toEnd()
    }
    const anchor = this.#anchor()
    // Its lower edge: a row that is drawn together with an older one loses its head.
    const before = anchor?.getBoundingClientRect().bottom
    change()
    if (!anchor?.isConnected || anchor.hidden) return
    this.#box.scrollTop += anchor.getBoundingClientRect().bottom - before
    this.#top = this.#box.scrollTop
  }

  #moved() {
    const { scrollTop, scrollHeight, clientHeight } = this.#box
    // Growth below is no movement: only who scrolls up leaves the end.
    if (scrollHeight - scrollTop - clientHeight < NEAR) this.#atEnd = true
    else if (scrollTop < this.#top - 1) this.#atEnd = false
    this.#top = scrollTop
    this.#onmove()
  }

  #hold() {
    if (this.atEnd) this.toEnd()
  }

  /** The first row in view that no fold can take away. */
  #anchor() {
    const top = this.#box.getBoundingClientRect().top
    const isBelow = (element) => element.getBoundingClientRect().bottom > top
    const rows = [...this.#rows.children].filter((element) => element.dataset.seq && !element.hidden)
    return rows.find((element) => !element.matches(".quiet") && isBelow(element)) ?? rows.find(isBelow)
  }
}
