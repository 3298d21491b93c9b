const SOON = 1_000
const LATE = 30_000

/**
 * The one road by which events come into the page: in order, each once, none missing.
 *
 * Where the order cannot be kept (a reset, a clear taken back) it loads the newest page, holding
 * back what comes meanwhile.
 */
export class Stream {
  #log
  #onevents
  #onpage
  #onhole
  #epoch
  #last
  #held = null
  #holeAt = null
  #loading

  constructor(log, { onevents, onpage, onhole }) {
    this.#log = log
    this.#onevents = onevents
    this.#onpage = onpage
    this.#onhole = onhole
  }

  /** The highest number with nothing missing below it. */
  get last() { return this.#last }
  get cursor() { return { after: this.#last, epoch: this.#epoch } }

  /** Begins with a page that ends at the log's head. */
  start(page) {
    const held = this.#held ?? []
    const first = page.events[0]?.seq ?? 0
    this.#held = null
    this.#epoch = page.epoch
    this.#last = page.events.at(-1)?.seq ?? page.head
    // What came before the page's first event is not shown, but people came and went in it.
    this.#onpage(page, held.filter(({ seq }) => seq < first))
    this.take(held)
  }

  take(events) {
    if (this.#held) return void this.#held.push(...events)
    const { next, isWhole } = this.#following(events)
    if (next.length) {
      this.#last = next.at(-1).seq
      this.#onevents(next)
    }
    if (next.some(({ kind }) => kind === "restore")) this.reload()
    else if (!isWhole) this.#mend()
  }

  /** Loads the newest page in place; tries until it is there, or a later reload takes over. */
  async reload() {
    const mine = (this.#loading = Symbol())
    this.#held ??= []
    for (let wait = SOON; mine === this.#loading; wait = Math.min(wait * 2, LATE)) {
      const page = await this.#log.newest().catch(() => null)
      if (page && mine === this.#loading) return this.start(page)
      await new Promise((resolve) => setTimeout(resolve, wait))
    }
  }

  /** A new connection brings what is missing; a hole that is still there then needs a new page. */
  #mend() {
    if (this.#holeAt === this.#last) return void this.reload()
    this.#holeAt = this.#last
    this.#onhole()
  }

  /** The events that follow the last one without a hole. */
  #following(events) {
    const next = []
    let last = this.#last
    for (const event of events) {
      if (event.seq <= last) continue
      if (event.seq > last + 1) return { next, isWhole: false }
      next.push(event)
      last = event.seq
    }
    return { next, isWhole: true }
  }
}
