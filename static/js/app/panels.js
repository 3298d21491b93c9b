/** The side panels: columns where there is room for them, drawers where there is not. */
export class Panels {
  /** `panels`: pairs of a panel and the media query by which it stands as a column. */
  constructor(panels) {
    for (const [panel, query] of panels) {
      matchMedia(query).addEventListener("change", () => panel.matches(":popover-open") && panel.hidePopover())
    }
  }
}
