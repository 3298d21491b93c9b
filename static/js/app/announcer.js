import { number } from "rollcall/clock"
import { fromTemplate } from "rollcall/dom"

const AT_ONCE = 3
const FORGET = 20_000

/** Reads what is new out to who listens to the page; old lines and one's own are not read. */
export class Announcer {
  #region
  #user
  #line = "connecting"

  constructor(region, user) {
    this.#region = region
    this.#user = user
  }

  /** Takes live events. */
  take(events) {
    const said = events.filter(({ kind, user }) => kind === "message" && user.id !== this.#user.id)
    if (said.length > AT_ONCE) return this.#say("say-many", { count: number(said.length) })
    for (const { user, body } of said) this.#say("say-message", { name: user.name, body })
  }

  /** Takes what the line does: only a loss is told, and the return from one. */
  line({ name }) {
    if (name === "waiting" && this.#line === "live") this.#say("say-lost")
    if (name === "live" && this.#line === "waiting") this.#say("say-live")
    if (["waiting", "live"].includes(name)) this.#line = name
  }

  #say(id, slots) {
    const line = fromTemplate(id, slots)
    this.#region.append(line)
    setTimeout(() => line.remove(), FORGET)
  }
}
