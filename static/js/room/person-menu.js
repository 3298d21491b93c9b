import { Popover } from "rollcall/popover"

/** What may be done with somebody who is here: a menu on their name in the list. */
export class PersonMenu {
  #menu
  #popover
  #rights
  #acts
  #person

  /** `acts`: {kick(person), role(person, role)}. */
  constructor(menu, list, { people, rights, acts }) {
    this.#menu = menu
    this.#popover = new Popover(menu)
    this.#rights = rights
    this.#acts = acts
    list.addEventListener("click", ({ target }) => {
      const button = target.closest("button")
      if (button) this.#open(people.get(Number(button.closest("[data-user]").dataset.user)), button)
    })
    menu.addEventListener("click", ({ target }) => this.#choose(target.closest("button")))
  }

  #open(person, button) {
    this.#person = person
    this.#menu.querySelector("[data-menu=kick]").hidden = !this.#rights.mayKick(person)
    for (const item of this.#menu.querySelectorAll("[data-role]")) item.hidden = item.dataset.role === person.role
    this.#popover.open(button)
  }

  #choose(item) {
    if (!item) return
    this.#popover.close()
    if (item.dataset.menu === "kick") this.#acts.kick(this.#person)
    else this.#acts.role(this.#person, item.dataset.role)
  }
}
