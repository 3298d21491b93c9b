import { ERRORS } from "rollcall/protocol"

const PATIENCE = 10_000
const FIRST_WAIT = 1_000
const LONGEST_WAIT = 15_000
const ORPHANED = 30_000

/**
 * What was said here and has no number yet. It outlives reloads, goes out in the order it was
 * typed, one at a time, and again with the same key until the server has answered.
 *
 * An entry is {key, body, at, state, doubt?, code?, detail?, seq?}. Its state is "waiting", "sent",
 * "failed" (refused: the person says what to do) or "stored" (its event is still to come); `doubt`
 * means that it was sent and nobody can say what became of it.
 */
export class Outbox {
  #storage
  #send
  #onchange
  #entries = []
  #timer = null
  #wait = FIRST_WAIT

  constructor(storage, { send, onchange }) {
    this.#storage = storage
    this.#send = send
    this.#onchange = onchange
    this.#adopt(0)
    storage.onremove((key) => this.#drop((entry) => entry.key === key && entry.state !== "stored"))
  }

  get entries() { return this.#entries }

  add(body) {
    const at = Math.max(Date.now(), (this.#entries.at(-1)?.at ?? 0) + 1)
    this.#keep({ key: newKey(), body, at, state: "waiting" })
    this.#pump()
  }

  /** The connection is live: all that waits goes out, and what another tab has left behind. */
  live() {
    this.#adopt(ORPHANED)
    this.#pump()
  }

  /** The connection is gone: nobody can say what became of what was on its way. */
  lost() {
    this.#stop()
    for (const entry of this.#entries) if (entry.state === "sent") doubt(entry)
    this.#onchange()
  }

  /** Takes the server's answer, a frame with a key; `last` is the newest number that is drawn. */
  answer(frame, last) {
    const entry = this.#find(frame.key)
    if (!entry) return
    if (entry.state === "sent") this.#stop()
    if (frame.type === "error") this.#refused(entry, frame)
    else this.#taken(entry, frame)
    this.#drop(({ state, seq }) => state === "answered" || seq <= last)
  }

  /** These events are drawn: what they say is no longer pending. */
  settle(events, user) {
    const keys = new Set(events.filter((event) => event.user?.id === user.id).map(({ key }) => key))
    const last = events.at(-1)?.seq ?? 0
    this.#drop(({ key, seq }) => keys.has(key) || seq <= last)
  }

  /** Sends it because the person says so. */
  retry(key) {
    const entry = this.#find(key)
    if (!this.#entries.some((other) => other !== entry && other.state === "sent")) this.#stop()
    this.#storage.remove(key)
    this.#keep(Object.assign(entry, {
      key: entry.code === "key_reused" ? newKey() : key,
      state: "waiting",
      code: undefined,
      detail: undefined,
    }))
    this.#pump()
  }

  /** Drops all that has not been sent. */
  clear() { this.#drop(() => true) }

  discard(key) { this.#drop((entry) => entry.key === key) }

  #find(key) { return this.#entries.find((entry) => entry.key === key) }

  #keep(entry) {
    if (!this.#entries.includes(entry)) this.#entries.push(entry)
    this.#storage.set(entry.key, entry)
  }

  #drop(isGone) {
    const gone = this.#entries.filter(isGone)
    for (const { key, state } of gone) {
      this.#storage.remove(key)
      if (state === "sent") this.#stop()
    }
    this.#entries = this.#entries.filter((entry) => !gone.includes(entry))
    this.#pump()
  }

  #adopt(age) {
    const known = new Set(this.#entries.map(({ key }) => key))
    for (const name of this.#storage.names()) {
      const entry = known.has(name) ? null : this.#storage.get(name)
      if (entry && entry.at <= Date.now() - age) this.#entries.push(entry.state === "failed" ? entry : doubt(entry))
    }
    this.#entries.sort((a, b) => a.at - b.at)
  }

  /** One at a time: a refusal in the middle would change the order. */
  #pump() {
    const next = this.#timer ? null : this.#entries.find(({ state }) => state === "waiting")
    if (next && this.#send(next)) {
      next.state = "sent"
      this.#rest(PATIENCE, () => doubt(next))
    }
    this.#onchange()
  }

  #taken(entry, { seq }) {
    this.#wait = FIRST_WAIT
    this.#storage.remove(entry.key)
    Object.assign(entry, { seq, doubt: false, state: seq ? "stored" : "answered" })
  }

  #refused(entry, { code, detail }) {
    if (ERRORS[code] !== "later") return this.#keep(Object.assign(entry, { state: "failed", code, detail }))
    entry.state = "waiting"
    this.#rest(this.#wait * (0.5 + Math.random() / 2))
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT)
  }

  #rest(time, act = () => {}) {
    this.#timer = setTimeout(() => {
      this.#timer = null
      act()
      this.#pump()
    }, time)
  }

  #stop() {
    clearTimeout(this.#timer)
    this.#timer = null
  }
}

const doubt = (entry) => Object.assign(entry, { state: "waiting", doubt: true })

// randomUUID() is missing where the chat is served over plain http.
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("")
}
