(() => {
  const shown = (element) => {
    const style = getComputedStyle(element);
    return element.getClientRects().length > 0 && style.visibility !== "hidden" && !element.closest(".unseen, caption, [aria-hidden=true]:not(svg)");
  };
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let up = element; up; up = up.parentElement) {
      const color = parse(getComputedStyle(up).backgroundColor);
      if (color[3] > 0) layers.push(color);
      if (color[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const luminance = (color) => {
    const [r, g, b] = color.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const opacity = (element) => {
    let all = 1;
    for (let up = element; up; up = up.parentElement) all *= Number(getComputedStyle(up).opacity);
    return all;
  };
  const pale = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let read = 0;
  while (texts.nextNode()) {
    const parent = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || parent.closest("script, style, [hidden]") || !shown(parent)) continue;
    const style = getComputedStyle(parent);
    if (parseFloat(style.fontSize) === 0 || opacity(parent) === 0) continue;
    const svg = parent instanceof SVGElement;
    const below = ground(parent);
    const color = parse(svg ? style.fill : style.color);
    color[3] *= opacity(parent);
    read += 1;
    const ratio = contrast(over(color, below), below);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) pale.push([texts.currentNode.textContent.trim().slice(0, 40), style.fontSize, Math.round(ratio * 100) / 100]);
  }
  const nameOf = (element) => element.getAttribute("aria-label") || (element.labels && [...element.labels].map((l) => l.textContent).join("")) || element.textContent.trim()
    || (document.getElementById(element.getAttribute("aria-labelledby")) || { textContent: "" }).textContent;
  const nameless = [...document.querySelectorAll("button, a[href], input, summary, figure, section, nav, [role=img], [role=group]:not(td), [tabindex]:not(td, div, main, h2)")]
    .filter((element) => !nameOf(element) && shown(element)).map((element) => element.outerHTML.slice(0, 120));
  const tables = [...document.querySelectorAll("table")].filter((table) => !table.caption || !table.caption.textContent.trim()
    || [...table.querySelectorAll("th")].some((head) => !head.scope || !head.textContent.trim())).map((table) => table.outerHTML.slice(0, 200));
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  const levels = [...document.querySelectorAll("h1, h2, h3, h4")].filter((h) => h.offsetParent).map((h) => Number(h.localName[1]));
  return {
    read,
    pale,
    nameless,
    tables,
    repeated: ids.filter((id, place) => ids.indexOf(id) !== place),
    landmarks: ["header", "main", "nav", "footer", "h1"].map((name) => document.querySelectorAll(name).length),
    jumps: levels.filter((level, place) => place && level > levels[place - 1] + 1),
  };
})()
