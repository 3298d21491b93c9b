import { CLOSES, address, isFarewell, read } from "rollcall/protocol"

const FIRST_WAIT = 0.5
const LONGEST_WAIT = 30
const AFTER_FLOOD = 10
const AFTER_TOO_MANY = 60 // somebody has to close a tab first
const HANDSHAKE = 15_000
const STEADY = 60_000
const TICK = 5_000
const ASLEEP = 75_000 // a hidden tab's timers run once a minute

/**
 * A socket that comes back by itself, from the cursor, until it is told not to.
 *
 * It tells `onstate` what it does: {name: "connecting" | "live" | "waiting" (until, and a reason
 * where the person has to do something) | "signed out" (who is signed in: "nobody" or "another") |
 * "refused" (reason)}.
 */
export class Connection {
  #url
  #session
  #cursor
  #onframe
  #onstate
  #socket = null
  #state = { name: "idle" }
  #reason = ""
  #within = 0 // seconds: the window in which a server that restarts wants us back
  #failures = 0
  #liveSince = 0
  #timer
  #awake = Date.now()

  constructor(url, { session, cursor = () => null, onframe, onstate = () => {} }) {
    this.#url = url
    this.#session = session
    this.#cursor = cursor
    this.#onframe = onframe
    this.#onstate = onstate
    this.#watch()
  }

  get isLive() { return this.#state.name === "live" }

  open() {
    this.#drop()
    this.#become({ name: "connecting" })
    const socket = (this.#socket = new WebSocket(address(this.#url, this.#cursor())))
    const mine = (act) => (event) => socket === this.#socket && act(event)
    socket.onmessage = mine(({ data }) => this.#take(data))
    socket.onclose = mine(({ code }) => this.#closed(code))
    this.#timer = setTimeout(() => this.lose(), HANDSHAKE)
  }

  /** Whether the text went out; what becomes of it only an answer tells. */
  send(text) {
    if (!this.isLive || this.#socket.readyState !== WebSocket.OPEN) return false
    this.#socket.send(text)
    return true
  }

  /** Gives the socket up and connects again after a wait. */
  lose() { this.#closed(1006) }

  /** Connects again at once, unless it is over: a dead socket does not tell. */
  renew() {
    if (this.#isOver) return
    this.#forgive()
    this.open()
  }

  get #isOver() { return ["idle", "refused", "signed out", "asking"].includes(this.#state.name) }

  #drop() {
    clearTimeout(this.#timer)
    const socket = this.#socket
    this.#socket = null
    socket?.close(1000)
  }

  #become(state) {
    this.#state = state
    this.#onstate(state)
  }

  #take(data) {
    const frame = read(data)
    if (!frame) return
    if (isFarewell(frame)) return this.#hear(frame)
    if (!this.isLive) this.#begin()
    this.#onframe(frame)
  }

  #hear({ detail, within = 0 }) {
    this.#reason = detail
    this.#within = within
  }

  #begin() {
    clearTimeout(this.#timer)
    this.#liveSince = Date.now()
    this.#become({ name: "live" })
  }

  #closed(code) {
    this.#drop()
    switch (CLOSES[code]) {
      case "refused": return this.#become({ name: "refused", reason: this.#reason })
      case "signed out": return this.#askSession()
      case "flooding": return this.#again(AFTER_FLOOD)
      case "too many": return this.#again(AFTER_TOO_MANY, this.#reason)
      default: return this.#again()
    }
  }

  #again(least = 0, reason = "") {
    this.#forgive()
    const width = Math.max(this.#within, Math.min(FIRST_WAIT * 2 ** this.#failures, LONGEST_WAIT))
    this.#within = 0
    this.#failures++
    const wait = (least + Math.random() * width) * 1000
    this.#become({ name: "waiting", until: Date.now() + wait, reason })
    this.#timer = setTimeout(() => this.open(), wait)
  }

  /** After a connection that held for a while the waits begin anew. */
  #forgive() {
    if (this.isLive && Date.now() - this.#liveSince > STEADY) this.#failures = 0
  }

  async #askSession() {
    this.#become({ name: "asking" })
    const who = await this.#session.who().catch(() => null)
    if (who === "nobody" || who === "another") this.#become({ name: "signed out", who })
    else this.#again()
  }

  /** The network, the tab or the machine may have been away; a socket does not tell. */
  #watch() {
    addEventListener("online", () => this.renew())
    addEventListener("offline", () => this.renew())
    addEventListener("pagehide", () => this.#socket?.close(1000))
    addEventListener("pageshow", ({ persisted }) => persisted && this.renew())
    document.addEventListener("visibilitychange", () => document.hidden || this.#look())
    setInterval(() => this.#tick(), TICK)
  }

  #tick() {
    const slept = Date.now() - this.#awake > ASLEEP
    this.#awake = Date.now()
    if (slept) this.renew()
  }

  #look() {
    this.#tick()
    if (this.#state.name === "waiting") this.renew()
    if (this.#state.name === "signed out") this.#askSession()
  }
}
