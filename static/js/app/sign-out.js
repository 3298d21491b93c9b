/**
 * What one typed leaves the browser when one signs out. This is on every page with such a button, and
 * tells the parts of its own page, and those of the browser's other pages, by the event "signout".
 */
const pages = new BroadcastChannel("rollcall")

function forget() {
  try {
    for (const name of Object.keys(localStorage)) if (name.startsWith("rollcall/")) localStorage.removeItem(name)
  } catch {
    // Storage is forbidden, so there is nothing in it.
  }
  dispatchEvent(new Event("signout"))
}

function isSignOut(form) {
  const address = form.getAttribute("action") || location.href // `form.action` may be one of its fields
  return new URL(address, location).pathname.endsWith("/logout/")
}

pages.addEventListener("message", forget)
document.addEventListener("submit", ({ target }) => {
  if (!isSignOut(target)) return
  forget()
  pages.postMessage("signout")
})
