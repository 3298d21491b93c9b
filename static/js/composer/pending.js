import { avatar } from "rollcall/avatar"
import { time } from "rollcall/clock"
import { arrange, fromTemplate } from "rollcall/dom"

const TOGETHER = 5 * 60_000

/** The lines below the log: said here, and not yet numbered. */
export class Pending {
  #list
  #user
  #acts
  #lines = new Map()

  /** `acts`: {retry(key), edit(key), discard(key)}, as the buttons are named. */
  constructor(list, user, acts) {
    this.#list = list
    this.#user = user
    this.#acts = acts
    list.addEventListener("click", ({ target }) => this.#click(target.closest("[data-pending]")))
  }

  /** Draws the entries; `previous` is the line above them. */
  draw(entries, previous) {
    const lines = new Map(entries.map((entry) => [entry.key, this.#lines.get(entry.key) ?? this.#line(entry)]))
    entries.forEach((entry, index) => {
      const line = lines.get(entry.key)
      line.classList.toggle("first", index === 0 && !this.#follows(entry, previous))
      tell(line, entry)
    })
    this.#lines = lines
    arrange(this.#list, [...lines.values()])
    this.#list.hidden = !entries.length
  }

  #line(entry) {
    const line = fromTemplate("line-pending", {
      avatar: avatar(this.#user),
      name: this.#user.name,
      at: time(new Date(entry.at)),
      body: entry.body,
    })
    line.dataset.key = entry.key
    return line
  }

  #follows({ at }, previous) {
    return previous?.isSaid === true && previous.event.user.id === this.#user.id && at - previous.at < TOGETHER
  }

  #click(button) {
    if (button) this.#acts[button.dataset.pending](button.closest("[data-key]").dataset.key)
  }
}

/** Says under a line how it stands with it. */
function tell(line, { state, doubt, detail }) {
  const standing = doubt && ["waiting", "sent"].includes(state) ? "unknown" : state
  if (line.dataset.state === standing && state !== "failed") return
  line.dataset.state = standing
  const foot = ["unknown", "failed"].includes(standing) ? [fromTemplate(`pending-${standing}`, { detail })] : []
  line.querySelector("[data-slot=state]").replaceChildren(...foot)
}
