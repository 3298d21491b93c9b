import { words } from "rollcall/dom"
import { counted } from "rollcall/plural"

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
    if (said.length > AT_ONCE) return this.#say(counted("new-messages", said.length))
    for (const { user, body } of said) this.#say(words("say-message", { name: user.name, body }))
  }

  /** Takes what the connection does: only a loss is told, and the return from one. */
  connectionState({ name }) {
    if (name === "waiting" && this.#connection === "live") this.#say(words("say-lost"))
    if (name === "live" && this.#connection === "waiting") this.#say(words("say-live"))
    if (["waiting", "live"].includes(name)) this.#connection = name
  }

  #say(text) {
    const sentence = document.createElement("p")
    sentence.textContent = text
    this.#region.append(sentence)
    setTimeout(() => sentence.remove(), FORGET)
  }
}
