import { avatar } from "rollcall/avatar"
import { dayOf, full, time } from "rollcall/clock"
import { fromTemplate, hasTemplate, setCleanHtml, words } from "rollcall/dom"

const TOGETHER = 5 * 60_000
const ONLY_EMOJI = /^(?:\p{RGI_Emoji}|\s){1,12}$/v

// Kinds that are told by more than one sentence.
const SENTENCES = {
  message: ({ me }) => (me ? "me" : "message"),
  leave: ({ cause }) => `leave-${cause.replaceAll(" ", "-")}`,
  kick: ({ reason }) => (reason ? "kick-reason" : "kick"),
  role: ({ role }) => `role-${role}`,
  topic: ({ topic }) => (topic ? "topic" : "topic-none"),
  archive: ({ archived }) => (archived ? "archive" : "unarchive"),
  clear: ({ reason }) => (reason ? "clear-reason" : "clear"),
}

/** One event of the log as it is drawn; the timeline says what stands around it. */
export class Row {
  // What the timeline has put before it.
  dayRow = null
  fold = null
  mark = null

  constructor(event) {
    this.event = event
    this.at = new Date(event.at)
    this.day = dayOf(this.at)
    this.element = this.#draw()
  }

  get seq() { return this.event.seq }
  get isComing() { return this.event.kind === "enter" }
  get isGoing() { return this.event.kind === "leave" }
  get isQuiet() { return this.isComing || this.isGoing }
  get isMessage() { return this.event.kind === "message" && !this.event.me }

  /** Whether it is drawn together with the row before: same person, same day, within 5 minutes. */
  follows(previous) {
    return this.isMessage && previous?.isMessage === true
      && this.event.user.id === previous.event.user.id
      && this.day === previous.day
      && this.at - previous.at < TOGETHER
  }

  #draw() {
    const element = fromTemplate(templateOf(this.event), this.#slots())
    if (this.seq) element.dataset.seq = this.seq
    if (this.event.user) element.dataset.user = this.event.user.id
    return element
  }

  #slots() {
    const { user, target, reason, topic, text, seq, seen } = this.event
    return {
      avatar: user && avatar(user),
      name: user?.name ?? words("word-house"),
      target: target?.name,
      reason, topic, text, seq,
      body: (slot) => this.#say(slot),
      at: seen ? lastSeen(this.at, new Date(seen)) : time(this.at),
    }
  }

  #say(slot) {
    setCleanHtml(slot, this.event.html)
    slot.classList.toggle("big", ONLY_EMOJI.test(this.event.body))
    // Wide code scrolls, which has to go by keyboard too.
    for (const code of slot.querySelectorAll("pre")) code.tabIndex = 0
  }
}

function templateOf(event) {
  const id = `row-${SENTENCES[event.kind]?.(event) ?? event.kind}`
  return hasTemplate(id) ? id : "row-other"
}

const lastSeen = (at, seen) => (slot) => {
  time(at)(slot)
  slot.title = words("word-last-seen", { at: full(at), seen: full(seen) })
}
