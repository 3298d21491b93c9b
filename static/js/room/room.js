import { time } from "rollcall/clock"
import { show } from "rollcall/protocol"

/** What the room's page does when something happens: each of its parts is told, in the right order. */
export class Room {
  #you
  #parts
  #keptOut // milliseconds, by a kick
  #joinAgainAt = null
  #isForgotten = false

  /** `parts`: the objects that main.js has made, by name. */
  constructor(you, parts) {
    this.#you = you
    this.#parts = parts
  }

  /** Begins with what the server wrote into the page. */
  start(page) {
    const { header, people, stream, connection } = this.#parts
    this.#keptOut = page.limits.kick * 1_000
    header.start(page.room)
    people.start(page)
    stream.start(page)
    connection.open()
  }

  // What comes in.

  /** Takes a frame of the socket. */
  frame(frame) {
    const { stream, counts } = this.#parts
    if (frame.type === "welcome") this.#welcome(frame)
    else if (frame.type === "events") stream.take(frame.events)
    else if (frame.type === "reset") stream.reload()
    else if (frame.type === "rooms") counts.take(frame)
    else this.#answer(frame)
  }

  /** Takes the newest page of the log, with which all begins anew, and what it passes over. */
  page(page, passed = []) {
    const { people, history, status, stream } = this.#parts
    people.take([...passed, ...page.events])
    history.start(page)
    status.seq = stream.last
  }

  /** Takes events that have just happened. */
  events(events) {
    const { scroller, history, header, people, announcer, unread, jump, status, stream } = this.#parts
    const wasAtEnd = scroller.atEnd
    history.take(events)
    this.drawn(events)
    for (const part of [header, people, announcer, unread]) part.take(events)
    if (!wasAtEnd) jump.add(events.filter(({ kind }) => kind === "message").length)
    if (events.some(({ kind, target }) => kind === "role" && target.id === this.#you.id)) this.#renewRights()
    const removal = events.find(({ kind, target }) => kind === "kick" && target.id === this.#you.id)
    if (removal) this.#joinAgainAt = new Date(Date.parse(removal.at) + this.#keptOut)
    status.seq = stream.last
  }

  /** Takes events that are drawn now, be they old or new. */
  drawn(events) { this.#parts.outbox.settle(events, this.#you) }

  /** Takes what the connection does. */
  connectionState(state) {
    const { status, announcer, outbox, history, banner, connection, counts } = this.#parts
    status.state = state
    announcer.connectionState(state)
    if (state.name !== "live") outbox.lost()
    switch (state.name) {
      case "live":
        connection.send(show(counts.rooms))
        outbox.live()
        history.retry()
        return banner.hide()
      case "waiting":
        return state.reason && banner.show("banner-waiting", { reason: state.reason })
      case "signed out":
        if (state.who === "another") this.forget()
        return this.#isForgotten ? this.#parts.leave() : banner.show("banner-signed-out")
      case "refused":
        return this.#close(state.reason)
    }
  }

  // What the person does.

  async say(body) {
    const { timeline, outbox } = this.#parts
    timeline.unmark()
    outbox.add(body)
    await this.toNewest()
  }

  /** Takes a message that could not be sent back into the box. */
  takeUp(key) {
    const { composer, outbox } = this.#parts
    composer.bring(outbox.entries.find((entry) => entry.key === key).body)
    outbox.discard(key)
  }

  /** Drops what was typed here: the next to look at this page may be somebody else. */
  forget() {
    const { composer, outbox } = this.#parts
    this.#isForgotten = true
    composer.clear()
    outbox.clear()
  }

  async toNewest() {
    const { history, scroller, stream } = this.#parts
    if (history.isComplete) scroller.toEnd()
    else await stream.reload()
  }

  /** Does an act without a dialog; a refusal is told below the log. */
  act(url, fields) {
    this.#parts.acts.do(url, fields).catch((refusal) => this.#tell(refusal.message))
  }

  #welcome(frame) {
    const { people, header, rights } = this.#parts
    people.start(frame)
    header.start(frame.room)
    if (frame.you.role !== rights.role) this.#renewRights()
  }

  #answer(frame) {
    const { outbox, stream } = this.#parts
    outbox.answer(frame, stream.last)
    if (frame.type === "notice") this.#tell(frame.text)
    else if (frame.type === "error" && !frame.key) this.#tell(frame.detail)
  }

  #close(reason) {
    const { banner, composer } = this.#parts
    if (this.#joinAgainAt > Date.now()) banner.show("banner-removed", { reason, at: time(this.#joinAgainAt) })
    else banner.show("banner-refused", { reason })
    composer.isOpen = false
  }

  /** A word for this person alone. */
  #tell(text) {
    this.#parts.history.say({ kind: "notice", at: new Date().toISOString(), text })
  }

  async #renewRights() {
    const { rights, people, freshPageData } = this.#parts
    const fresh = await freshPageData().catch(() => null)
    if (!fresh) return
    rights.update(fresh)
    people.draw()
  }
}
