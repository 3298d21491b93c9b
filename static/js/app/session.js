/** The session behind this page. */
export class Session {
  #url
  #user

  constructor(url, user) {
    this.#url = url
    this.#user = user
  }

  /** Who is signed in now: "you", "another" or "nobody"; throws where nobody can say. */
  async who() {
    const response = await fetch(this.#url, { headers: { Accept: "application/json" }, cache: "no-store" })
    if (!response.ok) throw new Error(`The session answers ${response.status}`)
    const { signed_in, id } = await response.json()
    if (!signed_in) return "nobody"
    return id === this.#user.id ? "you" : "another"
  }
}
