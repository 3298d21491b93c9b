import { day } from "rollcall/clock"
import { fill, fromTemplate } from "rollcall/dom"
import { Fold } from "rollcall/fold"
import { Line } from "rollcall/line"

const FOLDED_FROM = 3

/**
 * The lines of a room on screen: one unbroken piece of its log, with days, groups and folds.
 *
 * First, older, newer and live lines all come in here, and all are drawn by Line. What stands
 * between the lines is worked out again wherever two lines become neighbours.
 */
export class Timeline {
  #list
  #lines = []
  #taken = new Set()

  constructor(list) { this.#list = list }

  get size() { return this.#lines.length }
  get first() { return this.#lines.find((line) => line.seq)?.seq ?? null }
  get last() { return this.#lines.findLast((line) => line.seq)?.seq ?? null }
  get lastLine() { return this.#lines.at(-1) }

  /** Begins anew with these events. */
  start(events) {
    this.#lines = []
    this.#list.replaceChildren()
    this.append(events)
  }

  /** Adds events that follow. Those it has are left out; those that do not join are refused. */
  append(events) {
    const last = this.last
    const next = events.filter(({ seq }) => !seq || seq > last)
    if (last && next[0]?.seq > last + 1) return
    const lines = draw(next)
    this.#list.append(...lines.map(({ element }) => element))
    this.#lines.push(...lines)
    this.#settle(this.#lines.length - lines.length, this.#lines.length)
    this.#takeBack(events)
  }

  /** Adds events that came before, likewise. */
  prepend(events) {
    const first = this.first
    const before = events.filter(({ seq }) => seq < first)
    if (before.at(-1)?.seq < first - 1) return
    const lines = draw(before)
    this.#list.prepend(...lines.map(({ element }) => element))
    this.#lines.unshift(...lines)
    this.#settle(0, lines.length + 1)
    this.#takeBack(events)
  }

  /** Takes the `count` oldest lines off. */
  dropFirst(count) {
    this.#lines.splice(0, count).forEach(erase)
    this.#settle(0, 1)
  }

  /** Takes the `count` newest lines off. */
  dropLast(count) {
    this.#lines.splice(-count).forEach(erase)
    this.#settle(this.#lines.length - 1, this.#lines.length)
  }

  /** Draws the line between what was seen and what is new above the line numbered `seq`. */
  mark(seq) {
    this.unmark()
    const line = this.#lines.find((each) => each.seq === seq)
    if (!line) return
    line.mark = fromTemplate("line-new")
    ;(line.fold?.element ?? line.element).before(line.mark)
  }

  unmark() {
    for (const line of this.#lines) {
      line.mark?.remove()
      line.mark = null
    }
  }

  /** Days have other names after midnight. */
  nameDays() {
    for (const line of this.#lines) if (line.dayLine) nameDay(line.dayLine, line.at)
  }

  /** Works out what stands before and around the lines from `low` up to `high`. */
  #settle(low, high) {
    for (let i = Math.max(low, 0); i < Math.min(high, this.#lines.length); i++) {
      this.#group(this.#lines[i], this.#lines[i - 1])
    }
    this.#fold(low, high)
  }

  #group(line, previous) {
    if (line.isSaid) line.element.classList.toggle("first", !line.follows(previous))
    if (line.day === previous?.day) dropDay(line)
    else if (!line.dayLine) line.element.before((line.dayLine = nameDay(fromTemplate("line-day"), line.at)))
  }

  #fold(low, high) {
    let start = this.#runStart(Math.max(low, 0))
    while (start < Math.min(high, this.#lines.length)) {
      const end = this.#runEnd(start)
      if (this.#lines[start].isQuiet) foldRun(this.#lines.slice(start, end))
      start = end
    }
  }

  #runStart(index) {
    while (index > 0 && this.#together(index)) index--
    return index
  }

  #runEnd(index) {
    do index++; while (index < this.#lines.length && this.#together(index))
    return index
  }

  #together(index) {
    const [previous, line] = [this.#lines[index - 1], this.#lines[index]]
    return line?.isQuiet && previous.isQuiet && line.day === previous.day
  }

  /** A clear that was taken back offers it no more. */
  #takeBack(events) {
    for (const event of events) if (event.kind === "restore") this.#taken.add(event.about)
    for (const seq of this.#taken) {
      this.#list.querySelector(`[data-seq="${seq}"] [data-act=restore]`)?.remove()
    }
  }
}

/** One bad event never breaks the page: it gets a line that says so. */
function draw(events) {
  return events.map((event) => {
    try {
      return new Line(event)
    } catch (fault) {
      console.error(fault)
      return new Line({ seq: event.seq, at: event.at, kind: "other" })
    }
  })
}

function erase(line) {
  dropDay(line)
  line.mark?.remove()
  line.element.remove()
  if (line.fold?.element.isConnected) line.fold.dissolve()
}

function dropDay(line) {
  line.dayLine?.remove()
  line.dayLine = null
}

function nameDay(dayLine, date) {
  return fill(dayLine, { day: day(date) })
}

/** Folds a run of comings and goings, keeping a fold that stands there already. */
function foldRun(run) {
  const [kept, ...others] = new Set(run.map((line) => line.fold).filter(Boolean))
  for (const fold of others) fold.dissolve()
  if (run.length < FOLDED_FROM) {
    kept?.dissolve()
    for (const line of run) line.fold = null
    return
  }
  const fold = kept ?? new Fold()
  for (const line of run) line.fold = fold
  fold.hold(run)
}
