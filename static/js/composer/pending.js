import { avatar } from "rollcall/avatar"
import { time } from "rollcall/clock"
import { arrange, fromTemplate } from "rollcall/dom"

const TOGETHER = 5 * 60_000

/** The rows below the timeline: messages that have no number yet. */
export class Pending {
  #list
  #user
  #acts
  #rows = new Map()

  /** `acts`: {retry(key), edit(key), discard(key)}, as the buttons are named. */
  constructor(list, user, acts) {
    this.#list = list
    this.#user = user
    this.#acts = acts
    list.addEventListener("click", ({ target }) => this.#click(target.closest("[data-pending]")))
  }

  /** Draws the entries; `previous` is the row above them. */
  draw(entries, previous) {
    const rows = new Map(entries.map((entry) => [entry.key, this.#rows.get(entry.key) ?? this.#row(entry)]))
    entries.forEach((entry, index) => {
      const row = rows.get(entry.key)
      row.classList.toggle("first", index === 0 && !this.#follows(entry, previous))
      tell(row, entry)
    })
    this.#rows = rows
    arrange(this.#list, [...rows.values()])
    this.#list.hidden = !entries.length
  }

  #row(entry) {
    const row = fromTemplate("row-pending", {
      avatar: avatar(this.#user),
      name: this.#user.name,
      at: time(new Date(entry.at)),
      body: entry.body,
    })
    row.dataset.key = entry.key
    return row
  }

  #follows({ at }, previous) {
    return previous?.isMessage === true && previous.event.user.id === this.#user.id && at - previous.at < TOGETHER
  }

  #click(button) {
    if (button) this.#acts[button.dataset.pending](button.closest("[data-key]").dataset.key)
  }
}

/** Tells under a row what has become of its message. */
function tell(row, { state, doubt, detail }) {
  const delivery = doubt && ["waiting", "sent"].includes(state) ? "unknown" : state
  if (row.dataset.state === delivery && state !== "failed") return
  row.dataset.state = delivery
  const foot = ["unknown", "failed"].includes(delivery) ? [fromTemplate(`pending-${delivery}`, { detail })] : []
  row.querySelector("[data-slot=state]").replaceChildren(...foot)
}
