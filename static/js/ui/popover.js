const GAP = 6

/** A popover that opens beside the button it belongs to, inside the window. */
export class Popover {
  #element
  #invoker

  constructor(element) {
    this.#element = element
    element.addEventListener("toggle", ({ newState }) => newState === "open" && this.#opened())
    for (const button of document.querySelectorAll(`[popovertarget="${element.id}"]`)) {
      button.addEventListener("click", () => (this.#invoker = button), { capture: true })
    }
  }

  /** Opens it beside `button`. */
  open(button) {
    this.#invoker = button
    this.#element.showPopover({ source: button })
  }

  close() { this.#element.hidePopover() }

  #opened() {
    if (this.#invoker) this.#place(this.#invoker.getBoundingClientRect())
    this.#element.querySelector("[autofocus], a, button:not([hidden])")?.focus({ preventScroll: true })
  }

  #place(button) {
    const { offsetWidth: width, offsetHeight: height, style } = this.#element
    const below = button.bottom + GAP
    const fits = below + height < innerHeight
    style.top = `${Math.max(GAP, fits ? below : button.top - GAP - height)}px`
    const left = button.left + width < innerWidth - GAP ? button.left : button.right - width
    style.left = `${Math.max(GAP, left)}px`
  }
}
