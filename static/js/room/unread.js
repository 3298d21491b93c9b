import { number } from "rollcall/clock"

/** What was said while nobody looked: a mark in the timeline, a number in the title. */
export class Unread {
  #timeline
  #user
  #title = document.title
  #count = 0

  constructor(timeline, user) {
    this.#timeline = timeline
    this.#user = user
    document.addEventListener("visibilitychange", () => document.hidden || this.#tell(0))
  }

  /** Takes live events that are drawn. */
  take(events) {
    if (!document.hidden) return
    const said = events.filter(({ kind, user }) => kind === "message" && user.id !== this.#user.id)
    if (said.length && !this.#count) this.#timeline.mark(said[0].seq)
    this.#tell(this.#count + said.length)
  }

  #tell(count) {
    this.#count = count
    document.title = count ? `(${number(count)}) ${this.#title}` : this.#title
  }
}
