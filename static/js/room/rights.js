const RANK = { member: 1, moderator: 2, owner: 3 }

/** What the person of this page may do here. The server decides; this only shows and hides. */
export class Rights {
  #may
  #role
  #user

  constructor({ you, may }) {
    this.#user = you
    this.update({ you, may })
  }

  get role() { return this.#role }

  /** Takes what the server says now: {you: {role}, may: {act: bool}}. */
  update({ you, may }) {
    this.#role = you.role
    this.#may = may
    // The style sheet hides what needs a right that is not named here.
    document.body.dataset.may = Object.keys(may).filter((act) => may[act]).join(" ")
  }

  /** Whether there is anything this person may do with `person`. */
  hasMenu(person) {
    return person.id !== this.#user.id && (this.#may.role || this.mayKick(person))
  }

  mayKick({ role }) {
    return this.#may.kick && (this.#role === "member" || RANK[role] < RANK[this.#role])
  }
}
