import { day } from "rollcall/clock"
import { fill, fromTemplate } from "rollcall/dom"
import { Fold } from "rollcall/fold"
import { Row } from "rollcall/row"

const FOLDED_FROM = 3

/**
 * The rows of a room on screen: one unbroken piece of its log, with days, groups and folds.
 *
 * First, older, newer and live rows all come in here, and all are drawn by Row. What stands
 * between the rows is worked out again wherever two rows become neighbours.
 */
export class Timeline {
  #list
  #rows = []
  #taken = new Set()

  constructor(list) { this.#list = list }

  get size() { return this.#rows.length }
  get first() { return this.#rows.find((row) => row.seq)?.seq ?? null }
  get last() { return this.#rows.findLast((row) => row.seq)?.seq ?? null }
  get lastRow() { return this.#rows.at(-1) }

  /** Begins anew with these events. */
  start(events) {
    this.#rows = []
    this.#list.replaceChildren()
    this.append(events)
  }

  /** Adds events that follow. Those it has are left out; those that do not join are refused. */
  append(events) {
    const last = this.last
    const next = events.filter(({ seq }) => !seq || seq > last)
    if (last && next[0]?.seq > last + 1) return
    const rows = draw(next)
    this.#list.append(...rows.map(({ element }) => element))
    this.#rows.push(...rows)
    this.#settle(this.#rows.length - rows.length, this.#rows.length)
    this.#takeBack(events)
  }

  /** Adds events that came before, likewise. */
  prepend(events) {
    const first = this.first
    const before = events.filter(({ seq }) => seq < first)
    if (before.at(-1)?.seq < first - 1) return
    const rows = draw(before)
    this.#list.prepend(...rows.map(({ element }) => element))
    this.#rows.unshift(...rows)
    this.#settle(0, rows.length + 1)
    this.#takeBack(events)
  }

  /** Takes the `count` oldest rows off. */
  dropFirst(count) {
    this.#rows.splice(0, count).forEach(erase)
    this.#settle(0, 1)
  }

  /** Takes the `count` newest rows off. */
  dropLast(count) {
    this.#rows.splice(-count).forEach(erase)
    this.#settle(this.#rows.length - 1, this.#rows.length)
  }

  /** Draws the mark between what was seen and what is new above the row numbered `seq`. */
  mark(seq) {
    this.unmark()
    const row = this.#rows.find((each) => each.seq === seq)
    if (!row) return
    row.mark = fromTemplate("row-new")
    ;(row.fold?.element ?? row.element).before(row.mark)
  }

  unmark() {
    for (const row of this.#rows) {
      row.mark?.remove()
      row.mark = null
    }
  }

  /** Days have other names after midnight. */
  nameDays() {
    for (const row of this.#rows) if (row.dayRow) nameDay(row.dayRow, row.at)
  }

  /** Works out what stands before and around the rows from `low` up to `high`. */
  #settle(low, high) {
    for (let i = Math.max(low, 0); i < Math.min(high, this.#rows.length); i++) {
      this.#group(this.#rows[i], this.#rows[i - 1])
    }
    this.#fold(low, high)
  }

  #group(row, previous) {
    if (row.isMessage) row.element.classList.toggle("first", !row.follows(previous))
    if (row.day === previous?.day) dropDay(row)
    else if (!row.dayRow) row.element.before((row.dayRow = nameDay(fromTemplate("row-day"), row.at)))
  }

  #fold(low, high) {
    let start = this.#runStart(Math.max(low, 0))
    while (start < Math.min(high, this.#rows.length)) {
      const end = this.#runEnd(start)
      if (this.#rows[start].isQuiet) foldRun(this.#rows.slice(start, end))
      start = end
    }
  }

  #runStart(index) {
    while (index > 0 && this.#together(index)) index--
    return index
  }

  #runEnd(index) {
    do index++; while (index < this.#rows.length && this.#together(index))
    return index
  }

  #together(index) {
    const [previous, row] = [this.#rows[index - 1], this.#rows[index]]
    return row?.isQuiet && previous.isQuiet && row.day === previous.day
  }

  /** A clear that was taken back offers it no more. */
  #takeBack(events) {
    for (const event of events) if (event.kind === "restore") this.#taken.add(event.about)
    for (const seq of this.#taken) {
      this.#list.querySelector(`[data-seq="${seq}"] [data-act=restore]`)?.remove()
    }
  }
}

/** One bad event never breaks the page: it gets a row that says so. */
function draw(events) {
  return events.map((event) => {
    try {
      return new Row(event)
    } catch (fault) {
      console.error(fault)
      return new Row({ seq: event.seq, at: event.at, kind: "other" })
    }
  })
}

function erase(row) {
  dropDay(row)
  row.mark?.remove()
  row.element.remove()
  if (row.fold?.element.isConnected) row.fold.dissolve()
}

function dropDay(row) {
  row.dayRow?.remove()
  row.dayRow = null
}

function nameDay(dayRow, date) {
  return fill(dayRow, { day: day(date) })
}

/** Folds a run of comings and goings, keeping a fold that stands there already. */
function foldRun(run) {
  const [kept, ...others] = new Set(run.map((row) => row.fold).filter(Boolean))
  for (const fold of others) fold.dissolve()
  if (run.length < FOLDED_FROM) {
    kept?.dissolve()
    for (const row of run) row.fold = null
    return
  }
  const fold = kept ?? new Fold()
  for (const row of run) row.fold = fold
  fold.hold(run)
}
