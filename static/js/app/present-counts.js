import { number } from "rollcall/clock"

/** How many people are in each room now, wherever a page says so: `[data-room] [data-here]`. */
export class PresentCounts {
  /** The slugs of the rooms that the page shows. */
  get rooms() { return [...new Set(this.#elements.map(({ dataset }) => dataset.room))] }

  /** Takes a `rooms` frame: what has changed. */
  take({ here }) {
    for (const room of this.#elements) {
      const count = here[room.dataset.room]
      if (count !== undefined) this.#tell(room, count)
    }
  }

  get #elements() { return [...document.querySelectorAll("[data-room]")] }

  #tell(room, count) {
    room.querySelector("[data-here]").textContent = number(count)
    room.querySelector(".count").classList.toggle("none", count === 0)
  }
}
