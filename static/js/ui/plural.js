import { number } from "rollcall/clock"
import { words } from "rollcall/dom"

const FORMS = new Intl.PluralRules(document.documentElement.lang)

/** The sentence of `<template id="id-form">` that agrees with `count`. */
export const counted = (id, count) => words(`${id}-${FORMS.select(count)}`, { count: number(count) })
