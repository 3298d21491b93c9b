import { number } from "rollcall/clock"
import { fromTemplate } from "rollcall/dom"

const AT_ONCE = 3
const FORGET = 20_000

/** Tells screen readers what is new; old messages and one's own are not read out. */
export class Announcer {
  #region
  #user
  #connection = "connecting"

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

  /** Takes what the connection does: only a loss is told, and the return from one. */
  connectionState({ name }) {
    if (name === "waiting" && this.#connection === "live") this.#say("say-lost")
    if (name === "live" && this.#connection === "waiting") this.#say("say-live")
    if (["waiting", "live"].includes(name)) this.#connection = name
  }

  #say(id, slots) {
    const sentence = fromTemplate(id, slots)
    this.#region.append(sentence)
    setTimeout(() => sentence.remove(), FORGET)
  }
}
