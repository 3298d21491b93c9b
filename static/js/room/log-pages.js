const PATIENCE = 15_000

/** A room's log by HTTP, a page at a time. Each answers the page, or throws. */
export class LogPages {
  #url

  constructor(url) { this.#url = url }

  newest() { return this.#page({ limit: 50 }) }
  before(seq) { return this.#page({ before: seq, limit: 100 }) }
  after(seq) { return this.#page({ after: seq, limit: 100 }) }

  async #page(query) {
    const response = await fetch(`${this.#url}?${new URLSearchParams(query)}`, {
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(PATIENCE),
    })
    if (!response.ok) throw new Error(`The log answers ${response.status}`)
    return response.json()
  }
}
