"use strict";
(() => {
  const root = document.documentElement;
  const tip = document.getElementById("tip");
  const theme = document.getElementById("theme");

  const dark = () => (root.style.colorScheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const label = () => { theme.textContent = dark() ? "light" : "dark"; };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.style.colorScheme = dark() ? "light" : "dark"; label(); });
  label();

  const show = (target, x, y) => {
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const below = y + 18 + box.height < innerHeight;
    tip.style.left = Math.max(8, Math.min(x + 14, innerWidth - box.width - 8)) + "px";
    tip.style.top = (below ? y + 18 : Math.max(8, y - box.height - 12)) + "px";
  };
  const tipped = (event) => event.target.closest && event.target.closest("[data-tip]");
  const point = (event) => {
    const target = tipped(event);
    if (target && target.dataset.tip) show(target, event.clientX, event.clientY); else tip.hidden = true;
  };
  for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, point);
  // the tooltip of what has the focus stays with it when the page scrolls, as it does to bring it into view
  let focused = null;
  const beside = (target) => {
    const box = target.getBoundingClientRect();
    show(target, box.left + box.width / 2, box.top + box.height / 2);
  };
  document.addEventListener("focusin", (event) => {
    const target = tipped(event);
    focused = target && event.target.matches(":focus-visible") ? target : null;
    if (focused) beside(focused);
  });
  document.addEventListener("focusout", () => { focused = null; tip.hidden = true; });
  document.addEventListener("scroll", () => { if (focused && !tip.hidden) beside(focused); else tip.hidden = true; }, true);

  // one rule dims every mark but those of the encoder pointed at, however many marks there are
  const rule = document.head.appendChild(document.createElement("style"));
  let hot = "";
  document.addEventListener("pointerover", (event) => {
    const over = event.target.closest && event.target.closest("tr[data-row], li[data-row], label[data-row], .point");
    const row = over ? over.dataset.row : "";
    if (row === hot) return;
    hot = row;
    rule.textContent = row && `g[data-row]:not([data-row="${row}"]){opacity:.15}`;
  });

  // a table that goes on beyond an edge of its box fades there
  for (const box of document.querySelectorAll(".scroll")) {
    const fade = () => {
      box.classList.toggle("slid", box.scrollLeft > 1);
      box.classList.toggle("cut", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
      if (box.scrollWidth <= box.clientWidth + 1) box.removeAttribute("tabindex");
      else box.tabIndex = 0;
    };
    const caption = box.querySelector("caption");
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", (caption ? caption.textContent : "table") + ", scrolls sideways");
    box.addEventListener("scroll", fade);
    new ResizeObserver(fade).observe(box);
  }

  // a box that scrolls can be reached by keyboard; what has a tooltip too: one stop a table or figure, then arrow keys
  const stop = (element, place) => {
    element.tabIndex = place;
    if (element.textContent.trim() || element.hasAttribute("aria-label")) return;
    element.setAttribute("role", "img");
    element.setAttribute("aria-label", element.dataset.tip);
  };
  const stops = "[data-tip]:not(th, tr)";
  const groups = "table, .strips, .plot, .timeline, .keyframe, .costs, .bar";
  for (const group of document.querySelectorAll(groups)) {
    const first = group.querySelector(stops);
    if (first) stop(first, 0);
  }
  const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
  const seen = (element) => element.getClientRects().length > 0;
  const below = (cell, by) => {
    let row = cell.parentElement;
    do row = by > 0 ? row.nextElementSibling : row.previousElementSibling; while (row && !seen(row));
    const other = row && row.cells[cell.cellIndex];
    return other && other.hasAttribute("data-tip") ? other : null;
  };
  const along = (group, from, by) => {
    const all = [...group.querySelectorAll(stops)].filter(seen);
    return all[Math.max(0, Math.min(all.length - 1, all.indexOf(from) + by))];
  };
  document.addEventListener("keydown", (event) => {
    const from = event.target.closest && event.target.closest(stops);
    const group = from && from.closest(groups);
    if (event.key === "Escape") tip.hidden = true;
    if (!group || !(event.key in moves)) return;
    event.preventDefault();
    const cell = from.closest("td");
    const to = cell && /Up|Down/.test(event.key) ? below(cell, moves[event.key]) : along(group, from, moves[event.key]);
    if (!to) return;
    stop(to, 0);
    to.focus();
    if (to !== from) from.tabIndex = -1;
  });
})();
