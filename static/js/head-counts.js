import { number } from "rollcall/clock"

/** How many people are in each room now, wherever a page says so: `[data-room] [data-here]`. */
export class HeadCounts {
  /** Takes a `rooms` frame: all rooms, or those that changed. */
  take({ here, all }) {
    for (const room of document.querySelectorAll("[data-room]")) {
      const count = here[room.dataset.room] ?? (all ? 0 : null)
      if (count !== null) this.#tell(room, count)
    }
  }

  #tell(room, count) {
    room.querySelector("[data-here]").textContent = number(count)
    room.querySelector(".count").classList.toggle("none", count === 0)
  }
}
