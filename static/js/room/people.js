import { avatar } from "rollcall/avatar"
import { full, number, time } from "rollcall/clock"
import { arrange, fromTemplate, words } from "rollcall/dom"

const RECENT = 10 * 60_000
const RANKS = ["owner", "moderator", "member"]

/** Who is in the room now, and who has just left: a welcome, and the log folded over it. */
export class People {
  #parts
  #hasMenu
  #onchange
  #head = 0
  #here = new Map()
  #unnamed = 0
  #left = new Map()
  #roles = new Map()
  #items = new Map()

  /**
   * `parts`: the elements {here, more, left, leftSection} and the list `counts`; `hasMenu(person)`:
   * whether there is something to do with that person.
   */
  constructor(parts, { hasMenu, onchange }) {
    this.#parts = parts
    this.#hasMenu = hasMenu
    this.#onchange = onchange
    setInterval(() => this.draw(), 30_000)
  }

  /** {id, name, role, since} of somebody who is here. */
  get(id) {
    const person = this.#here.get(id)
    return person && { ...person, role: this.#roles.get(id) ?? "member" }
  }

  /** Begins with who was here at `head`. */
  start({ head, here, here_count }) {
    this.#head = head
    this.#here = new Map(here.map((person) => [person.id, { ...person, since: new Date(person.since) }]))
    this.#unnamed = here_count - here.length
    for (const { id, role } of here) this.#roles.set(id, role)
    this.draw()
  }

  /** Folds events over that; of those up to `head` it only notes who left. */
  take(events) {
    for (const event of events) {
      this.#note(event)
      if (event.seq > this.#head) this.#fold(event)
    }
    this.#head = Math.max(this.#head, events.at(-1)?.seq ?? 0)
    if (events.some(({ kind }) => kind !== "message")) this.draw()
  }

  #note({ kind, user, at, cause }) {
    if (kind === "leave") this.#left.set(user.id, { ...user, at: new Date(at), cause })
    if (kind === "enter") this.#left.delete(user.id)
  }

  #fold({ kind, user, target, role, at }) {
    if (kind === "enter") this.#enter(user, role, new Date(at))
    if (kind === "leave") this.#leave(user)
    if (kind === "role") this.#roles.set(target.id, role)
  }

  #enter(user, role, since) {
    this.#roles.set(user.id, role)
    if (!this.#here.has(user.id)) this.#here.set(user.id, { ...user, since })
  }

  #leave({ id }) {
    // Of more than a welcome can name, some leave whom this page never saw.
    if (!this.#here.delete(id)) this.#unnamed = Math.max(0, this.#unnamed - 1)
  }

  draw() {
    const present = this.#present()
    this.#show(present, this.#gone())
    this.#count(present.length + this.#unnamed)
    this.#onchange()
  }

  #present() {
    const rank = ({ role }) => RANKS.indexOf(role)
    const present = [...this.#here.keys()].map((id) => this.get(id))
    return present.sort((a, b) => rank(a) - rank(b) || a.since - b.since)
  }

  #gone() {
    for (const { id, at } of this.#left.values()) if (Date.now() - at > RECENT) this.#left.delete(id)
    const gone = [...this.#left.values()].filter(({ id }) => !this.#here.has(id))
    return gone.sort((a, b) => b.at - a.at)
  }

  #show(present, gone) {
    const template = (person) => (this.#hasMenu(person) ? "person-managed" : "person-here")
    arrange(this.#parts.here, present.map((person) => this.#item(template(person), person, person.since)))
    arrange(this.#parts.left, gone.map((person) => this.#item("person-left", person, person.at)))
    this.#parts.leftSection.hidden = !gone.length
  }

  #count(count) {
    this.#parts.more.hidden = !this.#unnamed
    this.#parts.more.textContent = words("word-more", { count: number(this.#unnamed) })
    for (const element of this.#parts.counts) element.textContent = number(count)
  }

  #item(template, person, since) {
    const state = `${template} ${person.name} ${person.role} ${+since}`
    const known = this.#items.get(person.id)
    if (known?.state === state) return known.element
    const element = fromTemplate(template, { avatar: avatar(person), name: person.name, since: time(since) })
    this.#dress(element, person, since)
    this.#items.set(person.id, { state, element })
    return element
  }

  #dress(element, { id, role, cause }, since) {
    element.dataset.user = id
    element.dataset.role = role
    if (role && role !== "member") element.querySelector("[data-slot=role]").append(fromTemplate(`role-${role}`))
    if (cause) element.title = words(`cause-${cause.replaceAll(" ", "-")}`, { at: full(since) })
  }
}
