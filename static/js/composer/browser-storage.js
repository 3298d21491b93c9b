/** What this browser keeps for a person in a room: each thing under a name of its own. */
export class BrowserStorage {
  #prefix
  #memory = new Map()

  constructor(...path) { this.#prefix = `rollcall/${path.join("/")}/` }

  /** Drops what is kept for others than this person: they are signed out, or they would be here. */
  static keepOnly(person) {
    const ofOthers = (name) => name.startsWith("rollcall/") && name.split("/")[2] !== String(person)
    try {
      for (const name of Object.keys(localStorage).filter(ofOthers)) localStorage.removeItem(name)
    } catch {
      // Storage is forbidden, so there is nothing in it.
    }
  }

  get(name) {
    const text = this.#reach((storage) => storage.getItem(this.#prefix + name)) ?? this.#memory.get(name)
    return text ? JSON.parse(text) : null
  }

  set(name, value) {
    const text = JSON.stringify(value)
    // Storage may be full or forbidden; then the page itself is all there is.
    this.#memory.set(name, text)
    this.#reach((storage) => storage.setItem(this.#prefix + name, text))
  }

  remove(name) {
    this.#memory.delete(name)
    this.#reach((storage) => storage.removeItem(this.#prefix + name))
  }

  names() {
    const stored = this.#reach((storage) => Object.keys(storage)) ?? []
    const ours = stored.filter((name) => name.startsWith(this.#prefix)).map((name) => name.slice(this.#prefix.length))
    return [...new Set([...ours, ...this.#memory.keys()])]
  }

  /** Calls `act(name)` when another tab has taken something out. */
  onremove(act) {
    addEventListener("storage", ({ key, newValue }) => {
      if (key?.startsWith(this.#prefix) && newValue === null) act(key.slice(this.#prefix.length))
    })
  }

  #reach(act) {
    try {
      return act(localStorage)
    } catch {
      return null
    }
  }
}
