/** Pages hold every sentence as a <template>; this fills them. */

// The one place where text becomes html, so that a policy of trusted types can name it.
const policy = globalThis.trustedTypes?.createPolicy("rollcall", { createHTML: (html) => html })

/** Sets html that the server has cleaned. Nothing else may come here. */
export function setCleanHtml(element, html) {
  element.innerHTML = policy ? policy.createHTML(html) : html
}

/** One of our own pages, read as a document that runs nothing. */
export function parsePage(html) {
  return new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, "text/html")
}

export const hasTemplate = (id) => document.getElementById(id) instanceof HTMLTemplateElement

/** A copy of `<template id>`'s element with its slots filled. */
export function fromTemplate(id, slots = {}) {
  return fill(document.getElementById(id).content.firstElementChild.cloneNode(true), slots)
}

/** The words of `<template id>`, with its slots filled. */
export const words = (id, slots) => fromTemplate(id, slots).textContent.trim()

/**
 * Fills each `data-slot` of `element` that `slots` names: by text, by a node, or by a function that
 * is given the slot. No value is read as html.
 */
export function fill(element, slots) {
  if (element.dataset.slot) fillOne(element, slots)
  for (const slot of element.querySelectorAll("[data-slot]")) fillOne(slot, slots)
  return element
}

function fillOne(slot, slots) {
  const value = slots[slot.dataset.slot]
  if (typeof value === "function") value(slot)
  else if (value !== undefined) slot.replaceChildren(value)
}

/** Makes `list` hold exactly `elements`, in this order, and touches no one that stays in place. */
export function arrange(list, elements) {
  const wanted = new Set(elements)
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove()
  let place = list.firstElementChild
  for (const element of elements) {
    if (element === place) place = place.nextElementSibling
    else list.insertBefore(element, place)
  }
}
