/** The session behind this page. */
export class Session {
  #url
  #user

  constructor(url, user) {
    this.#url = url
    this.#user = user
  }

  /** Whether the person of this page is still signed in; throws where nobody can say. */
  async isOurs() {
    const response = await fetch(this.#url, { headers: { Accept: "application/json" }, cache: "no-store" })
    if (!response.ok) throw new Error(`The session answers ${response.status}`)
    const { signed_in, name } = await response.json()
    return signed_in && name === this.#user.name
  }
}
