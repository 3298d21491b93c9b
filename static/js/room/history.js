import { Edge } from "rollcall/edge"

const MOST = 600
const SLACK = 100

/**
 * Which piece of the log is drawn: it grows at both ends as one scrolls, is cut at the far end when
 * it gets too long, and takes live rows as long as it reaches down to the newest.
 */
export class History {
  #log
  #timeline
  #scroller
  #edges
  #beginning
  #ondraw
  #head = 0
  #floor = 1
  #moreBefore = false
  #busy = {}

  /** `parts`: the elements {box, older, newer, beginning}; `ondraw(events)`: a page was drawn. */
  constructor({ log, timeline, scroller, parts, ondraw }) {
    this.#log = log
    this.#timeline = timeline
    this.#scroller = scroller
    this.#beginning = parts.beginning
    this.#ondraw = ondraw
    this.#edges = {
      older: new Edge(parts.older, parts.box, () => this.#older()),
      newer: new Edge(parts.newer, parts.box, () => this.#newer()),
    }
  }

  /** Whether the newest row is drawn. */
  get isComplete() { return (this.#timeline.last ?? this.#head) >= this.#head }

  /** Begins with the newest page. */
  start({ events, head, floor, more_before }) {
    this.#head = events.at(-1)?.seq ?? head
    this.#floor = floor
    this.#moreBefore = more_before
    this.#busy = {}
    this.#timeline.start(events)
    this.#show()
    this.#scroller.toEnd()
    this.#ondraw(events)
  }

  /** Takes live events. */
  take(events) {
    const clear = events.findLast(({ kind }) => kind === "clear")
    if (clear) return this.#begin(clear, events)
    const isDrawn = this.isComplete && (this.#scroller.atEnd || this.#timeline.size < MOST)
    this.#head = Math.max(this.#head, events.at(-1).seq)
    if (isDrawn) this.#scroller.keep(() => this.#grow(events))
    this.#show()
  }

  /** Adds a row that is no event, for this person alone. */
  say(notice) {
    this.#timeline.append([notice])
    this.#scroller.toEnd()
  }

  /** A new connection may bring what the last one could not. */
  retry() {
    for (const end of ["older", "newer"]) if (this.#busy[end] === "failed") delete this.#busy[end]
    this.#show()
  }

  #begin(clear, events) {
    this.start({
      events: events.filter(({ seq }) => seq >= clear.seq),
      floor: clear.seq,
      more_before: false,
    })
  }

  #grow(events) {
    this.#timeline.append(events)
    this.#cutFirst()
  }

  #older() {
    return this.#load("older", this.#log.before(this.#timeline.first), (page) => {
      this.#timeline.prepend(page.events)
      this.#moreBefore = page.more_before
      if (!this.#scroller.atEnd) this.#cutLast()
    })
  }

  #newer() {
    return this.#load("newer", this.#log.after(this.#timeline.last), (page) => {
      this.#head = Math.max(this.#head, page.head)
      this.#timeline.append(page.events)
      this.#cutFirst()
    })
  }

  async #load(end, answer, draw) {
    const busy = this.#busy
    busy[end] = "loading"
    this.#show()
    const page = await answer.catch(() => null)
    if (busy !== this.#busy) return // begun anew meanwhile
    busy[end] = page ? undefined : "failed"
    this.#scroller.keep(() => {
      if (page) draw(page)
      this.#show()
    })
    if (page) this.#ondraw(page.events)
  }

  #cutFirst() {
    const excess = this.#timeline.size - MOST
    if (excess < SLACK) return
    this.#timeline.dropFirst(excess)
    this.#moreBefore = true
  }

  #cutLast() {
    const excess = this.#timeline.size - MOST
    if (excess >= SLACK) this.#timeline.dropLast(excess)
  }

  #show() {
    this.#edges.older.state = this.#busy.older ?? (this.#moreBefore ? "idle" : "end")
    this.#edges.newer.state = this.#busy.newer ?? (this.isComplete ? "end" : "idle")
    this.#beginning.hidden = this.#moreBefore || this.#floor > 1
    this.#scroller.hasEnd = this.isComplete
  }
}
