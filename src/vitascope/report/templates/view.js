"use strict";
// What is shown, folded, opened and sorted; kept in the address of the page after #, so that a link restores the view.
(() => {
  const $ = (what, inside = document) => [...inside.querySelectorAll(what)];
  const boxes = $("[data-filter] input");
  const panel = document.getElementById("filters");
  const rule = document.head.appendChild(document.createElement("style"));
  const kindOf = (box) => box.closest("[data-filter]").dataset.filter;

  // sections: a contents line, and a permalink at each heading
  const nav = document.querySelector("nav");
  const sections = $("main > section[id]").filter((section) => section.querySelector("h2"));
  let at = "";
  const go = (id) => {
    const target = document.getElementById(id);
    if (!target) return;
    for (let up = target; up; up = up.parentElement) if (up.matches("details")) up.open = true;
    target.scrollIntoView();
    at = id;
  };
  const link = (section, text, kind) => {
    const anchor = document.createElement("a");
    anchor.href = "#" + section.id;
    anchor.textContent = text;
    anchor.className = kind;
    anchor.addEventListener("click", (event) => {
      event.preventDefault();
      go(section.id);
      save();
      const head = section.querySelector("h2");
      head.tabIndex = -1;
      head.focus({ preventScroll: true });
    });
    return anchor;
  };
  for (const section of sections) {
    const head = section.querySelector("h2");
    const title = head.textContent;
    nav.append(link(section, title, ""));
    const anchor = link(section, "#", "anchor");
    anchor.setAttribute("aria-label", "Link to " + title);
    head.append(anchor);
  }
  nav.hidden = sections.length < 2;

  // tables: every column with a heading sorts, groups of columns fold
  const tables = $("main table").filter((table) => table.tHead && !table.matches(".matrix"));
  const leaves = (table) => [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const named = (table) => table.id || "t" + tables.indexOf(table);
  const first = new Map(tables.map((table) => [table, [...table.tBodies[0].rows]]));
  const number = (text) => {
    const found = text.replace(/[,\u202f]/g, "").replace("\u2212", "-").match(/[-+]?\d+(\.\d+)?/);
    return found ? Number(found[0]) : -Infinity;
  };
  const value = (row, place) => {
    const cell = row.cells[place];
    if (!cell) return -Infinity;
    return cell.dataset.value === undefined ? number(cell.textContent) : Number(cell.dataset.value);
  };
  const text = (row, place) => (row.cells[place] ? row.cells[place].textContent.trim() : "");
  const numeric = (table, place) => {
    const rows = first.get(table).filter((row) => row.cells[place] && row.cells[place].textContent.trim().length > 1);
    return rows.length > 0 && rows.every((row) => row.cells[place].dataset.value !== undefined || /^[-+\u2212]?[\d.,]+/.test(text(row, place)));
  };
  const sort = (table, place, up) => {
    const byNumber = numeric(table, place);
    const order = (a, b) => (byNumber ? value(a, place) - value(b, place) : text(a, place).localeCompare(text(b, place)));
    for (const head of leaves(table)) head.removeAttribute("aria-sort");
    if (place === null) return table.tBodies[0].append(...first.get(table));
    leaves(table)[place].setAttribute("aria-sort", up ? "ascending" : "descending");
    table.tBodies[0].append(...[...first.get(table)].sort((a, b) => (up ? 1 : -1) * order(a, b)));
  };
  for (const table of tables) {
    if (first.get(table).length < 2) continue;
    leaves(table).forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...(head.querySelector(":scope > span") || head).childNodes);
      (head.querySelector(":scope > span") || head).append(button);
      head.addEventListener("click", () => {
        const sorted = head.getAttribute("aria-sort");
        sort(table, place, sorted ? sorted === "descending" : !numeric(table, place));
        save();
      });
    });
  }

  const folded = new Set();
  const foldable = $("th[data-fold]");
  const keyOf = (head) => named(head.closest("table")) + " " + head.dataset.from + " " + head.dataset.fold;
  for (const head of foldable) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "fold";
    head.firstElementChild.append(button);
    button.addEventListener("click", () => {
      if (!folded.delete(keyOf(head))) folded.add(keyOf(head));
      layout();
      save();
    });
  }
  const off = (head) => ["dataset", "probe"].some((kind) => hidden(kind).has(head.dataset[kind]));
  const hidden = (kind) => new Set(boxes.filter((box) => !box.checked && kindOf(box) === kind).map((box) => box.value));
  const place = (table) => {
    const heads = leaves(table);
    const state = heads.map((head) => (off(head) ? "off" : ""));
    for (const group of $("th[data-fold]", table)) {
      const from = Number(group.dataset.from);
      const shut = folded.has(keyOf(group));
      let stub = true;
      for (let i = from; i < from + spans.get(group) && shut; i++) if (!state[i]) { state[i] = stub ? "stub" : "off"; stub = false; }
      group.classList.toggle("folded", shut);
      const button = group.querySelector(".fold");
      button.textContent = shut ? "+" : "\u2212";
      button.setAttribute("aria-expanded", String(!shut));
      button.setAttribute("aria-label", (shut ? "unfold " : "fold ") + group.dataset.fold);
    }
    for (const group of $("th[data-from]", table)) {
      const from = Number(group.dataset.from);
      const left = state.slice(from, from + spans.get(group)).filter((one) => one !== "off").length;
      group.hidden = left === 0;
      group.colSpan = Math.max(left, 1);
    }
    for (const row of [table.tHead.rows[table.tHead.rows.length - 1], ...first.get(table), ...(table.tFoot ? table.tFoot.rows : [])]) {
      [...row.cells].forEach((cell, i) => {
        cell.hidden = state[i] === "off";
        cell.classList.toggle("stub", state[i] === "stub");
      });
    }
  };
  const spans = new Map($("th[data-from]").map((head) => [head, head.colSpan]));
  const grouped = tables.filter((table) => table.querySelector("th[data-from], th[data-dataset]"));
  const layout = () => grouped.forEach(place);

  // filters: one rule hides whatever carries the name
  const count = panel && panel.querySelector("summary i");
  const button = panel && panel.querySelector("summary button");
  const total = count && count.textContent;
  const filter = () => {
    const out = boxes.filter((box) => !box.checked);
    const within = 'main :not(th)[data-';
    rule.textContent = out.map((box) => `${within}${kindOf(box)}="${CSS.escape(box.value)}"]{display:none!important}`).join("");
    layout();
    if (!count) return;
    const shown = $("[data-filter]").map((set) => {
      const all = $("input", set);
      return `${all.filter((box) => box.checked).length} of ${all.length} ${set.querySelector("legend").textContent}`;
    });
    count.textContent = out.length ? "showing " + shown.join(", ") : total;
    button.hidden = !out.length;
  };
  for (const box of boxes) box.addEventListener("change", () => { filter(); save(); });
  if (panel) {
    panel.hidden = false;
    button.addEventListener("click", (event) => {
      event.preventDefault();
      for (const box of boxes) box.checked = true;
      filter();
      save();
    });
  }

  // parts that fold, by their ids
  const parts = $("details[id]");
  const usual = new Map(parts.map((part) => [part, part.open]));
  for (const part of parts) part.addEventListener("toggle", () => save());

  let quiet = true;
  let written = "";
  const address = () => {
    const view = new URLSearchParams();
    for (const box of boxes) if (!box.checked) view.append("without-" + kindOf(box), box.name);
    for (const key of folded) view.append("fold", key);
    for (const part of parts) if (part.open !== usual.get(part)) view.append(part.open ? "open" : "close", part.id);
    for (const table of tables) {
      const head = leaves(table).find((one) => one.hasAttribute("aria-sort"));
      if (head) view.append("sort", [named(table), head.cellIndex, head.getAttribute("aria-sort")].join(" "));
    }
    if (at) view.append("at", at);
    return view.toString();
  };
  const save = () => {
    if (quiet) return;
    written = address();
    try { history.replaceState(null, "", "#" + written); } catch { if (written) location.replace("#" + written); }
  };
  const restore = () => {
    const words = location.hash.slice(1);
    if (words === written && words) return;
    quiet = true;
    if (words && !words.includes("=")) go(words);
    else {
      const view = new URLSearchParams(words);
      for (const box of boxes) box.checked = !view.getAll("without-" + kindOf(box)).includes(box.name);
      folded.clear();
      for (const head of foldable) if (view.getAll("fold").includes(keyOf(head))) folded.add(keyOf(head));
      for (const part of parts) {
        part.open = view.getAll("open").includes(part.id) || (usual.get(part) && !view.getAll("close").includes(part.id));
      }
      for (const table of tables) sort(table, null);
      for (const [name, column, order] of view.getAll("sort").map((one) => one.split(" "))) {
        const table = tables.find((one) => named(one) === name);
        if (table && leaves(table)[column]) sort(table, Number(column), order === "ascending");
      }
      filter();
      at = "";
      if (view.get("at")) go(view.get("at"));
    }
    written = address();
    setTimeout(() => { quiet = false; });
  };
  addEventListener("hashchange", restore);
  restore();
  filter();

  // on paper everything is opened, but for the settings
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = $("details:not([open])").filter((part) => !part.closest("#settings, #filters"));
    quiet = true;
    for (const part of opened) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
    setTimeout(() => { quiet = false; });
  });
})();
