/**
 * Tells a person whose browser is too old for the room's modules. It has to run where they cannot, so
 * it is a classic script in the JavaScript of 2009. The page holds the sentences.
 */
(function () {
  "use strict"

  function knowsTheFlagV() {
    try {
      return Boolean(new RegExp("", "v"))
    } catch (unknown) {
      return false
    }
  }

  // What the modules and the style sheets cannot do without; all of it is in browsers since May 2024.
  var isEnough = window.HTMLScriptElement && HTMLScriptElement.supports
    && HTMLScriptElement.supports("module") && HTMLScriptElement.supports("importmap")
    && "popover" in HTMLElement.prototype
    && "toWellFormed" in String.prototype
    && window.Intl && Intl.Segmenter
    && window.AbortSignal && AbortSignal.timeout
    && window.CSS && CSS.supports("color", "light-dark(red, red)")
    && knowsTheFlagV()

  if (!isEnough) document.documentElement.setAttribute("data-too-old", "")
})()
