const HUES = 12
const letters = new Intl.Segmenter(undefined, { granularity: "grapheme" })

/** A filler of slots: a person's initials on a colour of their own. */
export const avatar = (user) => (slot) => {
  slot.textContent = initials(user.name)
  slot.dataset.hue = (user.id * 5) % HUES
}

/** Two letters: of “Maya” Ma, of “release-bot” rb. */
function initials(name) {
  const [first, second] = name.split(/[-_]+/).filter(Boolean)
  const taken = second ? [graphemes(first)[0], graphemes(second)[0]] : graphemes(first ?? name).slice(0, 2)
  return taken.join("").toLocaleUpperCase()
}

const graphemes = (text) => Array.from(letters.segment(text), ({ segment }) => segment)
