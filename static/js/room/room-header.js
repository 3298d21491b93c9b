/** What the page says of the room itself: its topic, and whether it is archived. */
export class RoomHeader {
  #parts
  #room
  #onarchive

  /** `parts`: the elements {topic, noTopic, archived}; `onarchive(archived)`: whether one can still speak. */
  constructor(parts, onarchive) {
    this.#parts = parts
    this.#onarchive = onarchive
  }

  get topic() { return this.#room.topic }

  start(room) {
    this.#room = { ...room }
    this.#draw()
  }

  /** Takes events. */
  take(events) {
    for (const { kind, topic, archived } of events) {
      if (kind === "topic") this.#change({ topic })
      if (kind === "archive") this.#change({ archived })
    }
  }

  #change(facts) {
    Object.assign(this.#room, facts)
    this.#draw()
  }

  #draw() {
    const { topic, archived } = this.#room
    this.#parts.topic.textContent = topic
    this.#parts.topic.title = topic
    this.#parts.noTopic.hidden = Boolean(topic)
    this.#parts.archived.hidden = !archived
    document.body.toggleAttribute("data-archived", archived)
    this.#onarchive(archived)
  }
}
