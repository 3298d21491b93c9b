import { parsePage } from "rollcall/dom"

/** What the server wrote into a page for its scripts; null where it wrote nothing. */
export function pageData(page = document) {
  return JSON.parse(page.getElementById("page-data")?.textContent ?? "null")
}

/** The same, as the server would write it now. */
export async function freshPageData() {
  const response = await fetch(location.href)
  return pageData(parsePage(await response.text()))
}
