import { Draft } from "rollcall/draft"
import { counted } from "rollcall/plural"

const NEARLY = 200

/** The box in which one types. What is typed leaves it only by being sent. */
export class Composer {
  #form
  #box
  #button
  #count
  #draft
  #limit
  #onsend

  constructor(form, { storage, limit, onsend }) {
    this.#form = form
    this.#box = form.querySelector("textarea")
    this.#button = form.querySelector("[type=submit]")
    this.#count = form.querySelector("[data-count]")
    this.#limit = limit
    this.#onsend = onsend
    this.#draft = new Draft(storage, this.#box)
    this.#listen()
    this.#grow()
  }

  focus() { this.#box.focus() }

  /** Puts a text that could not be sent back before what is being typed. */
  bring(text) {
    this.#set([text, this.#box.value].filter(Boolean).join("\n"))
    this.focus()
  }

  /** Empties the box, and what is kept of it. */
  clear() {
    this.#set("")
    this.#draft.save()
  }

  /** Types `text` where the cursor is. */
  insert(text) {
    this.focus()
    if (this.#box.readOnly) return
    this.#box.setRangeText(text, this.#box.selectionStart, this.#box.selectionEnd, "end")
    this.#box.dispatchEvent(new Event("input", { bubbles: true }))
  }

  /** Whether something can be said here now; the text stays in any case. */
  set isOpen(value) {
    this.#box.readOnly = !value
    this.#form.classList.toggle("closed", !value)
    this.#measure()
  }

  #listen() {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault()
      this.#send()
    })
    this.#box.addEventListener("keydown", (event) => this.#key(event))
    this.#box.addEventListener("input", () => this.#grow())
  }

  #key(event) {
    // While letters are being composed Enter belongs to the input method; Safari tells by 229 only.
    const composing = event.isComposing || event.keyCode === 229
    if (event.key !== "Enter" || event.shiftKey || composing || event.defaultPrevented) return
    event.preventDefault()
    this.#send()
  }

  #send() {
    if (!this.#canSend) return
    this.#onsend(this.#box.value)
    this.clear()
    this.focus()
  }

  get #canSend() {
    return !this.#box.readOnly && this.#box.value.trim() !== "" && this.#left >= 0
  }

  /** Characters left, counted as the server counts them. */
  get #left() { return this.#limit - [...this.#box.value].length }

  #set(text) {
    this.#box.value = text
    this.#box.dispatchEvent(new Event("input", { bubbles: true }))
  }

  #grow() {
    if (!CSS.supports("field-sizing", "content")) {
      this.#box.style.blockSize = "auto"
      this.#box.style.blockSize = `${this.#box.scrollHeight}px`
    }
    this.#measure()
  }

  #measure() {
    const near = this.#box.value.length > this.#limit - NEARLY
    const left = near ? this.#left : 0
    this.#count.hidden = !near
    this.#count.textContent = near ? told(left) : ""
    this.#count.classList.toggle("over", left < 0)
    this.#button.disabled = !this.#canSend
  }
}

const told = (left) => (left < 0 ? counted("characters-over", -left) : counted("characters-left", left))
