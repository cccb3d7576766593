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
  document.addEventListener("focusin", (event) => {
    const target = tipped(event);
    if (!target || !target.matches(":focus-visible")) return;
    const box = target.getBoundingClientRect();
    show(target, box.left + box.width / 2, box.top + box.height / 2);
  });
  document.addEventListener("focusout", () => { tip.hidden = true; });
  document.addEventListener("scroll", () => { tip.hidden = true; }, true);

  // one rule dims every mark but those of the encoder pointed at, however many marks there are
  const rule = document.head.appendChild(document.createElement("style"));
  let hot = "";
  document.addEventListener("pointerover", (event) => {
    const over = event.target.closest && event.target.closest("tr[data-row], li[data-row], .point");
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
    };
    box.addEventListener("scroll", fade);
    new ResizeObserver(fade).observe(box);
  }

  for (const head of document.querySelectorAll("th[data-sort]")) {
    head.tabIndex = 0;
    const sort = () => {
      const up = head.getAttribute("aria-sort") === "descending" || (head.dataset.sort === "text" && !head.hasAttribute("aria-sort"));
      const body = head.closest("table").tBodies[0];
      const place = head.cellIndex;
      const value = (tr) => head.dataset.sort === "text" ? tr.cells[place].textContent : Number(tr.cells[place].dataset.value);
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        return (up ? 1 : -1) * (typeof x === "string" ? x.localeCompare(y) : x - y);
      });
      for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      body.append(...rows);
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  }
})();
