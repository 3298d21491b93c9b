/** The wire format: what docs/PROTOCOL.md says, in JavaScript. Nothing else knows how frames look. */

/** The frames that come from the server. */
export const FRAMES = new Set(["welcome", "events", "reset", "ack", "error", "notice", "rooms"])

/** What to do about a refusal: tell the person, or send it again later with the same key. */
export const ERRORS = Object.freeze({
  unreadable: "tell",
  too_big: "tell",
  unknown_type: "tell",
  bad_field: "tell",
  empty: "tell",
  too_long: "tell",
  not_allowed: "tell",
  archived: "tell",
  removed: "tell",
  too_many_rooms: "tell",
  key_reused: "tell",
  slow_down: "later",
  busy: "later",
  try_later: "later",
})

/** What to do when the socket closes; a code that is not named means that the connection was lost. */
export const CLOSES = Object.freeze({
  1000: "lost",
  1001: "lost",
  1006: "lost",
  1009: "lost",
  1012: "lost",
  4401: "signed out",
  4403: "refused",
  4404: "refused",
  4408: "lost",
  4409: "too many",
  4429: "flooding",
})

/** The frame that says `body`. Half a surrogate pair would make it unreadable. */
export const post = (key, body) => JSON.stringify({ type: "post", key, body: body.toWellFormed() })

/** The frame that says which rooms (slugs) the page shows, to have their counts. */
export const show = (rooms) => JSON.stringify({ type: "show", rooms })

/** The frame in a text, or null for one that a newer server may have sent. */
export function read(text) {
  const frame = JSON.parse(text)
  return FRAMES.has(frame.type) ? frame : null
}

/** Whether an error frame tells why the socket closes right after it. */
export const isFarewell = ({ type, code }) => type === "error" && code in CLOSES

/** The socket's address with a cursor ({epoch, after}), or with none. */
export function address(url, cursor) {
  const full = new URL(url, location.href)
  full.protocol = full.protocol.replace("http", "ws")
  if (cursor) full.search = new URLSearchParams(cursor)
  return full.href
}
