/** Makes the parts of a page and wires them; nothing else knows them all. */

import { Acts } from "rollcall/acts"
import { Announcer } from "rollcall/announcer"
import { avatar } from "rollcall/avatar"
import { Banner } from "rollcall/banner"
import { BrowserStorage } from "rollcall/browser-storage"
import { time } from "rollcall/clock"
import { CommandHints } from "rollcall/command-hints"
import { Composer } from "rollcall/composer"
import { Connection } from "rollcall/connection"
import { Controls } from "rollcall/controls"
import { fill } from "rollcall/dom"
import { EmojiPicker } from "rollcall/emoji"
import { History } from "rollcall/history"
import { Jump } from "rollcall/jump"
import { LogPages } from "rollcall/log-pages"
import { Outbox } from "rollcall/outbox"
import { freshPageData, pageData } from "rollcall/page-data"
import { Panels } from "rollcall/panels"
import { Pending } from "rollcall/pending"
import { People } from "rollcall/people"
import { Popover } from "rollcall/popover"
import { PresentCounts } from "rollcall/present-counts"
import { post, show } from "rollcall/protocol"
import { Rights } from "rollcall/rights"
import { Room } from "rollcall/room"
import { RoomHeader } from "rollcall/room-header"
import { Scroller } from "rollcall/scroller"
import { Session } from "rollcall/session"
import { Status } from "rollcall/status"
import { Stream } from "rollcall/stream"
import { Timeline } from "rollcall/timeline"
import { Unread } from "rollcall/unread"

const MINUTE = 60_000
const byId = (id) => document.getElementById(id)

const page = pageData()
const { urls, you } = page
const session = new Session(urls.session, you)
const counts = new PresentCounts()

for (const element of document.querySelectorAll("[data-my-avatar]")) avatar(you)(element)
new Popover(byId("my-menu"))

BrowserStorage.keepOnly(you.id)

const isTooOld = "tooOld" in document.documentElement.dataset // see old-browser.js
if (page.room && !isTooOld) openRoom()
if (!page.room) openList()

function openList() {
  const connection = new Connection(urls.socket, {
    session,
    onframe: (frame) => frame.type === "rooms" && counts.take(frame),
    onstate: ({ name }) => {
      if (name === "live") connection.send(show(counts.rooms))
      if (name === "signed out") location.reload()
    },
  })
  connection.open()
}

function openRoom() {
  // The log, and the piece of it on screen.
  const log = new LogPages(urls.log)
  const timeline = new Timeline(byId("rows"))
  const jump = new Jump(byId("jump"), () => room.toNewest())
  const scroller = new Scroller(byId("timeline"), byId("rows"), () => (jump.isNeeded = !scroller.atEnd))
  const history = new History({
    log,
    timeline,
    scroller,
    parts: { box: byId("timeline"), older: byId("older"), newer: byId("newer"), beginning: byId("beginning") },
    ondraw: (events) => room.drawn(events),
  })
  const unread = new Unread(timeline, you)
  const announcer = new Announcer(byId("announcer"), you)

  // What is typed, and has no number yet.
  const composer = new Composer(byId("composer"), {
    storage: new BrowserStorage("draft", you.id, page.room.slug),
    limit: page.limits.body,
    onsend: (body) => room.say(body),
  })
  const pending = new Pending(byId("pending"), you, {
    retry: (key) => outbox.retry(key),
    edit: (key) => room.takeUp(key),
    discard: (key) => outbox.discard(key),
  })
  const outbox = new Outbox(new BrowserStorage("outbox", you.id, page.room.slug), {
    send: ({ key, body }) => connection.send(post(key, body)),
    onchange: () => scroller.keep(() => pending.draw(outbox.entries, timeline.lastRow)),
  })
  new CommandHints(byId("say"), byId("commands"))
  new EmojiPicker(byId("emoji"), byId("emoji-grid"), (emoji) => composer.insert(emoji))

  // The room and its people.
  const rights = new Rights(page)
  const header = new RoomHeader(
    { topic: byId("topic"), noTopic: byId("no-topic"), archived: byId("archived") },
    (archived) => (composer.isOpen = !archived),
  )
  const people = new People(
    {
      here: byId("here"),
      more: byId("here-more"),
      left: byId("left"),
      leftSection: byId("left-section"),
      counts: document.querySelectorAll("[data-here-count]"),
    },
    { hasMenu: (person) => rights.hasMenu(person), onchange: () => tellSince(people.get(you.id)) },
  )
  const acts = new Acts(document.querySelector("[name=csrfmiddlewaretoken]").value)
  new Controls({
    acts,
    act: (url, fields) => room.act(url, fields),
    people,
    rights,
    urls,
    topic: () => header.topic,
    onclose: () => composer.focus(),
  })
  new Panels([
    [byId("sidebar"), "(min-width: 721px)"],
    [byId("people"), "(min-width: 1041px)"],
  ])

  // The connection.
  const stream = new Stream(log, {
    onpage: (newest, passed) => room.page(newest, passed),
    onevents: (events) => room.events(events),
    onhole: () => connection.lose(),
  })
  const connection = new Connection(urls.socket, {
    session,
    cursor: () => stream.cursor,
    onframe: (frame) => room.frame(frame),
    onstate: (state) => room.connectionState(state),
  })
  const status = new Status(byId("status"), { onrenew: () => connection.renew() })
  const banner = new Banner(byId("banner"))

  const room = new Room(you, {
    acts, announcer, banner, composer, connection, counts, freshPageData, header, history, jump,
    outbox, people, rights, scroller, status, stream, timeline, unread,
    leave: () => location.replace(urls.rooms),
  })
  addEventListener("signout", () => room.forget()) // see sign-out.js
  room.start(page)
  setInterval(() => timeline.nameDays(), MINUTE)
  // On a phone the keyboard would cover what one came to read.
  if (matchMedia("(hover: hover)").matches) composer.focus()
}

function tellSince(me) {
  byId("my-since").hidden = !me
  if (me) fill(byId("my-since"), { time: time(me.since) })
}
