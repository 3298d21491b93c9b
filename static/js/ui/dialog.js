import { Refusal } from "rollcall/acts"
import { fill } from "rollcall/dom"

/** A question in a <dialog>; the answer to its form is an act. */
export class Dialog {
  #dialog
  #form
  #errors
  #acts
  #ondone

  /** `ondone(answer)`: the act is done; `onclose()`: the dialog is gone, in any case. */
  constructor(dialog, acts, { ondone = () => {}, onclose }) {
    this.#dialog = dialog
    this.#form = dialog.querySelector("form")
    this.#errors = dialog.querySelector(".errors")
    this.#acts = acts
    this.#ondone = ondone
    this.#form.addEventListener("submit", (event) => this.#submit(event))
    dialog.addEventListener("close", onclose)
    dialog.addEventListener("click", ({ target }) => this.#isOutside(target) && dialog.close())
  }

  /** Opens it with `slots` filled and `values` ({field: text}) in the form. */
  open(slots = {}, values = {}) {
    this.#form.reset()
    this.#complain("")
    fill(this.#dialog, slots)
    for (const [name, value] of Object.entries(values)) this.#form.elements[name].value = value
    this.#dialog.showModal()
  }

  #isOutside(target) { return target === this.#dialog || target.closest("[data-close]") }

  async #submit(event) {
    event.preventDefault()
    this.#busy(true)
    try {
      const answer = await this.#acts.do(this.#form.action, new FormData(this.#form))
      this.#dialog.close()
      this.#ondone(answer)
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal
      this.#complain(refusal.message)
    } finally {
      this.#busy(false)
    }
  }

  #busy(isBusy) { this.#form.querySelector("[type=submit]").disabled = isBusy }

  #complain(text) {
    this.#errors.textContent = text
    this.#errors.hidden = !text
  }
}
