import { Dialog } from "rollcall/dialog"
import { PersonMenu } from "rollcall/person-menu"
import { Popover } from "rollcall/popover"

const byId = (id) => document.getElementById(id)

/** The menus and dialogs by which one acts on a room and on its people. */
export class Controls {
  #acts
  #onclose

  /** `act(url, fields)` does what needs no dialog; `onclose()`: a dialog is gone. */
  constructor({ acts, act, people, rights, urls, topic, onclose }) {
    this.#acts = acts
    this.#onclose = onclose
    this.#roomMenu(urls, topic)
    this.#personMenu(urls, act, { people, rights })
    byId("rows").addEventListener("click", ({ target }) => {
      const button = target.closest("[data-act=restore]")
      if (button) act(urls.restore, { seq: button.closest("[data-seq]").dataset.seq })
    })
  }

  #roomMenu(urls, topic) {
    const openers = {
      topic: this.#opener("topic-dialog", () => [{}, { topic: topic() }]),
      clear: this.#opener("clear-dialog"),
      leave: this.#opener("leave-dialog", () => [], () => location.assign(urls.rooms)),
      delete_room: this.#opener("delete-room-dialog", () => [], () => location.assign(urls.rooms)),
    }
    const menu = new Popover(byId("room-menu"))
    byId("no-topic").addEventListener("click", openers.topic)
    byId("room-menu").addEventListener("click", ({ target }) => {
      const item = target.closest("[data-opens]")
      if (!item) return
      menu.close()
      openers[item.dataset.opens]()
    })
  }

  #personMenu(urls, act, parts) {
    const dialog = this.#dialog("kick-dialog")
    new PersonMenu(byId("person-menu"), byId("here"), {
      ...parts,
      acts: {
        kick: ({ name }) => dialog.open({ name }, { user: name }),
        role: ({ name }, role) => act(urls.role, { user: name, role }),
      },
    })
  }

  #opener(id, filling = () => [], ondone) {
    const dialog = this.#dialog(id, ondone)
    return () => dialog.open(...filling())
  }

  #dialog(id, ondone) {
    return new Dialog(byId(id), this.#acts, { ondone, onclose: this.#onclose })
  }
}
