const AHEAD = "1000px 0px"

/** One end of what is drawn: asks for more when it comes near, and says when that failed. */
export class Edge {
  #element
  #near

  constructor(element, box, onnear) {
    this.#element = element
    this.#near = new IntersectionObserver(
      (entries) => entries.at(-1).isIntersecting && onnear(),
      { root: box, rootMargin: AHEAD },
    )
    element.querySelector("button").addEventListener("click", onnear)
  }

  /** "idle": there is more; "loading"; "failed"; "end": there is no more. */
  set state(state) {
    if (state === this.#element.dataset.state) return
    this.#element.dataset.state = state
    this.#element.hidden = state === "end"
    // Observing anew tells at once, also where the end has never left the view.
    this.#near.disconnect()
    if (state === "idle") this.#near.observe(this.#element)
  }
}
