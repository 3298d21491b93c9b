/** Dates and times in the page's language, as the person's own region writes them. */

const page = document.documentElement.lang
const language = (tag) => tag.split("-")[0]
const locale = navigator.languages.find((tag) => language(tag) === language(page)) ?? page

const TIME = new Intl.DateTimeFormat(locale, { timeStyle: "short" })
const FULL = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "medium" })
const DATE = new Intl.DateTimeFormat(locale, { weekday: "long", day: "numeric", month: "long" })
const NEAR = new Intl.DateTimeFormat(locale, { day: "numeric", month: "long" })
const FAR = new Intl.DateTimeFormat(locale, { day: "numeric", month: "long", year: "numeric" })
const RELATIVE = new Intl.RelativeTimeFormat(locale, { numeric: "auto" })
const NUMBER = new Intl.NumberFormat(locale)
const LIST = new Intl.ListFormat(locale, { type: "conjunction" })

export const number = (value) => NUMBER.format(value)
export const list = (names) => LIST.format(names)
export const full = (date) => FULL.format(date)
export const seconds = (count) => RELATIVE.format(count, "second")
export const range = (from, to) => TIME.formatRange(from, to)

/** The person's own day of a moment, as 2026-11-22. */
export function dayOf(date) {
  const two = (value) => String(value).padStart(2, "0")
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
}

/** “Today, 22 November”, “Monday, 16 November”, “3 June 2024”. */
export function dayName(date) {
  const days = daysAgo(date)
  if (days < 2) return `${capital(RELATIVE.format(-days, "day"))}, ${NEAR.format(date)}`
  return capital((days < 300 ? DATE : FAR).format(date))
}

/** A filler of slots: the time in a <time>, its full date as the title. */
export const time = (date) => (slot) => {
  slot.dateTime = date.toISOString()
  slot.title = full(date)
  slot.textContent = TIME.format(date)
}

/** A filler of slots: the name of a day in a <time>. */
export const day = (date) => (slot) => {
  slot.dateTime = dayOf(date)
  slot.textContent = dayName(date)
}

function daysAgo(date) {
  const midnight = (moment) => new Date(moment).setHours(0, 0, 0, 0)
  return Math.max(0, Math.round((midnight(Date.now()) - midnight(date)) / 86_400_000))
}

const capital = (text) => text.charAt(0).toLocaleUpperCase(locale) + text.slice(1)
