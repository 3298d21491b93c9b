import { Popover } from "rollcall/popover"

const EMOJI = `😀 😄 😂 🤣 🙂 😉 😊 😍 😘 😎
🤔 🤨 😐 🙄 😏 😴 😅 😬 😭 😢
😤 😡 🤯 😱 🥳 🤗 🤝 👍 👎 👏
🙌 🙏 💪 👋 🤞 ✌️ 👌 👀 🧠 🫶
❤️ 💛 💚 💙 💜 🖤 💔 ✨ 🔥 🎉
🎈 🎁 🏆 🚀 🛠️ 🐛 ☕ 🍕 🍰 🍻
🌞 🌧️ 🌈 🌱 🌍 🐈 🐕 🦊 🦉 🐢
✅ ❌ ❓ ❗ 💡 📌 📎 🔒 ⏰ 💯`

const COLUMNS = 10

/** A small grid of emoji; arrows move in it, Enter takes one. */
export class EmojiPicker {
  #popover
  #buttons = []
  #onpick

  constructor(element, grid, onpick) {
    this.#popover = new Popover(element)
    this.#onpick = onpick
    for (const row of EMOJI.split("\n")) grid.append(this.#row(row.split(" ")))
    this.#reach(0)
    grid.addEventListener("keydown", (event) => this.#key(event))
    grid.addEventListener("click", ({ target }) => this.#pick(target.closest("button")))
  }

  #row(emoji) {
    const row = document.createElement("div")
    row.role = "row"
    row.append(...emoji.map((sign) => this.#cell(sign)))
    return row
  }

  #cell(sign) {
    const cell = document.createElement("div")
    const button = document.createElement("button")
    cell.role = "gridcell"
    button.type = "button"
    button.textContent = sign
    button.tabIndex = -1
    cell.append(button)
    this.#buttons.push(button)
    return cell
  }

  /** Only one of the buttons is a stop of the Tab key. */
  #reach(index) {
    for (const button of this.#buttons) button.tabIndex = -1
    this.#buttons[index].tabIndex = 0
    return this.#buttons[index]
  }

  #key(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: COLUMNS, ArrowUp: -COLUMNS }
    const next = this.#buttons.indexOf(event.target) + steps[event.key]
    if (!this.#buttons[next]) return
    event.preventDefault()
    this.#reach(next).focus()
  }

  #pick(button) {
    if (!button) return
    this.#popover.close()
    this.#onpick(button.textContent)
  }
}
