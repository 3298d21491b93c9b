/** While a command is being typed: which there are. Tab takes the chosen one. */
export class CommandHints {
  #box
  #list
  #options
  #chosen = null

  constructor(box, list) {
    this.#box = box
    this.#list = list
    this.#options = [...list.querySelectorAll("[role=option]")]
    box.addEventListener("input", () => this.#match())
    // Before the composer, for which Enter means to send.
    box.addEventListener("keydown", (event) => this.#key(event), { capture: true })
    box.addEventListener("blur", () => this.#close())
    list.addEventListener("mousedown", (event) => {
      event.preventDefault()
      this.#take(event.target.closest("[role=option]"))
    })
  }

  #match() {
    const typed = this.#box.value
    const isCommand = /^\/[a-z]*$/.test(typed) && !this.#box.readOnly
    for (const option of this.#options) {
      option.hidden = !isCommand || !option.dataset.command.startsWith(typed) || option.dataset.allowed === "false"
    }
    this.#open(this.#visible.length > 0)
  }

  get #visible() { return this.#options.filter((option) => !option.hidden) }

  #key(event) {
    if (this.#list.hidden) return
    const { key } = event
    if (key === "Escape") this.#close()
    else if (key === "ArrowDown" || key === "ArrowUp") this.#step(key === "ArrowDown" ? 1 : -1)
    else if (key === "Tab") this.#take(this.#chosen ?? this.#visible[0])
    else if (key === "Enter" && this.#chosen) this.#take(this.#chosen)
    else return
    event.preventDefault()
  }

  #step(by) {
    const options = this.#visible
    const next = options.indexOf(this.#chosen) + by
    this.#choose(options.at(next % options.length))
  }

  #choose(option) {
    this.#chosen?.setAttribute("aria-selected", "false")
    this.#chosen = option
    option?.setAttribute("aria-selected", "true")
    this.#box.setAttribute("aria-activedescendant", option?.id ?? "")
  }

  #take(option) {
    if (!option) return
    this.#box.value = `${option.dataset.command} `
    this.#box.dispatchEvent(new Event("input", { bubbles: true }))
  }

  #open(isOpen) {
    this.#choose(null)
    this.#list.hidden = !isOpen
  }

  #close() { this.#open(false) }
}
