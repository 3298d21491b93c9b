import { words } from "rollcall/dom"

const PATIENCE = 15_000

/** An act was refused; the message is a sentence for people. */
export class Refusal extends Error {}

/** Acts by HTTP: forms of this page, answered in place. */
export class Acts {
  #token

  constructor(token) { this.#token = token }

  /** Posts `fields` ({name: text}) to `url`; a Refusal where it is not done. */
  async do(url, fields) {
    const response = await this.#post(url, new URLSearchParams(fields)).catch(() => null)
    const answer = await response?.json().catch(() => null)
    if (response?.ok && answer) return answer
    throw new Refusal(answer?.detail ?? words("word-no-answer"))
  }

  #post(url, body) {
    return fetch(url, {
      method: "POST",
      headers: { Accept: "application/json", "X-CSRFToken": this.#token },
      body,
      signal: AbortSignal.timeout(PATIENCE),
    })
  }
}
