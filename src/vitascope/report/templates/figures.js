"use strict";
// Every drawing as an SVG of plain shapes and as a PNG: what is rendered is read back, so that no style sheet is needed.
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const LENGTHS = ["x", "y", "x1", "y1", "x2", "y2", "width", "height", "cx", "cy", "r", "rx", "ry"];
  const PAINT = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "fill-opacity", "stroke-opacity", "paint-order", "vector-effect"];
  const SHAPES = "line, rect, circle, path, polyline, polygon, image";
  const MARGIN = 12;
  const measure = document.createElement("canvas").getContext("2d");
  const round = (number) => Math.round(number * 100) / 100;
  const make = (name, values) => {
    const element = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
    return element;
  };
  const clear = (color) => color === "transparent" || /rgba?\(.*, 0\)|\/ 0\)/.test(color);

  // a shape in its own units, the matrix from them to the drawing, and the paint it is rendered with
  const shape = (element, like, style, matrix, origin) => {
    const values = {};
    for (const name of LENGTHS) {
      const length = element[name] && element[name].baseVal;
      if (length && element.hasAttribute(name)) values[name] = round(length.value);
    }
    for (const name of ["d", "points", "href"]) if (element.hasAttribute(name)) values[name] = element.getAttribute(name);
    for (const name of PAINT) {
      const value = style.getPropertyValue(name);
      if (value && value !== "none" && value !== "normal") values[name] = value.replace(/px/g, "");
      else if (name === "fill") values.fill = "none";
    }
    const [x, y] = like.matches("use") ? [like.x.baseVal.value, like.y.baseVal.value] : [0, 0];
    const m = matrix.translate(x, y);
    values.transform = `matrix(${[m.a, m.b, m.c, m.d, m.e - origin.x, m.f - origin.y].map((n) => Math.round(n * 1e4) / 1e4).join(" ")})`;
    return make(element.localName, values);
  };

  // the lines of a text as they are broken on the page, each with its place
  const lines = (nodes) => {
    const range = document.createRange();
    const found = [];
    for (const node of nodes) for (let i = 0, content = node.textContent; i < content.length; i++) {
      range.setStart(node, i);
      range.setEnd(node, i + 1);
      const box = range.getClientRects()[0];
      if (!box || !box.height) continue;
      const last = found[found.length - 1];
      if (last && Math.abs(last.box.top - box.top) < 2 && box.left - last.right < 24) {
        last.text += content[i];
        last.right = Math.max(last.right, box.right);
        last.left = Math.min(last.left, box.left);
      } else found.push({ text: content[i], box, left: box.left, right: box.right });
    }
    return found;
  };
  const texts = (nodes, style, origin) => lines(nodes).filter((line) => line.text.trim()).map((line) => {
    measure.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    const metrics = measure.measureText(line.text);
    const ascent = metrics.fontBoundingBoxAscent + (line.box.height - metrics.fontBoundingBoxAscent - metrics.fontBoundingBoxDescent) / 2;
    const svg = nodes[0].parentElement instanceof SVGElement;
    const text = make("text", {
      x: round(line.left - origin.x), y: round(line.box.top + ascent - origin.y), "font-size": style.fontSize, "font-weight": style.fontWeight,
      "font-family": style.fontFamily, fill: svg ? style.fill : style.color, textLength: round(line.right - line.left), lengthAdjust: "spacingAndGlyphs",
    });
    if (svg && style.stroke !== "none") for (const name of ["stroke", "stroke-width", "stroke-linejoin", "paint-order"]) text.setAttribute(name, style.getPropertyValue(name));
    text.textContent = line.text;
    return text;
  });

  const ground = (element, style, origin, out) => {
    const box = element.getBoundingClientRect();
    const place = { x: round(box.left - origin.x), y: round(box.top - origin.y), width: round(box.width), height: round(box.height) };
    const rounded = parseFloat(style.borderTopLeftRadius) || 0;
    if (!clear(style.backgroundColor)) out.append(make("rect", { ...place, rx: Math.min(rounded, place.height / 2), fill: style.backgroundColor }));
    const step = style.backgroundImage.startsWith("repeating") && parseFloat(style.getPropertyValue("--step"));
    for (let at = 0; step && at <= 100.01; at += step) {
      const x = round(place.x + (place.width * at) / 100);
      out.append(make("line", { x1: x, x2: x, y1: place.y, y2: round(place.y + place.height), stroke: getComputedStyle(document.documentElement).getPropertyValue("--gridline-now") || "#ebe8e2" }));
    }
  };

  const walk = (element, origin, out, opacity) => {
    const style = getComputedStyle(element);
    if (style.display === "none" || style.visibility === "hidden" || element.matches(".save, defs, .unseen, caption")) return;
    const seen = opacity * Number(style.opacity);
    const inSvg = element instanceof SVGElement;
    const add = (child) => { if (seen < 0.995) child.setAttribute("opacity", round(seen)); out.append(child); };
    if (!inSvg || element.localName === "svg") ground(element, style, origin, out);
    if (inSvg && element.matches("use")) {
      const target = document.querySelector(element.getAttribute("href"));
      if (target && target.matches(SHAPES)) add(shape(target, element, style, element.getScreenCTM(), origin));
      return;
    }
    if (inSvg && element.matches(SHAPES)) add(shape(element, element, style, element.getScreenCTM(), origin));
    const words = [...element.childNodes].filter((child) => child.nodeType === Node.TEXT_NODE);
    if (words.length) texts(words, style, origin).forEach(add);
    for (const child of element.children) if (child.localName !== "wbr") walk(child, origin, out, seen);
  };

  // in the light theme, on white, whatever the theme of the page
  const draw = (drawing) => {
    const root = document.documentElement;
    const before = root.style.colorScheme;
    root.style.colorScheme = "light";
    const box = drawing.getBoundingClientRect();
    const [width, height] = [Math.ceil(box.width) + 2 * MARGIN, Math.ceil(box.height) + 2 * MARGIN];
    const svg = make("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
    svg.append(make("rect", { width, height, fill: "#fff" }));
    walk(drawing, { x: box.left - MARGIN, y: box.top - MARGIN }, svg, 1);
    const used = new Set([...svg.querySelectorAll("[fill^=url]")].map((one) => one.getAttribute("fill").match(/#([^")]+)/)[1]));
    const defs = make("defs", {});
    for (const id of used) if (document.getElementById(id)) defs.append(document.getElementById(id).cloneNode(true));
    if (used.size) svg.prepend(defs);
    root.style.colorScheme = before;
    return new XMLSerializer().serializeToString(svg);
  };

  const save = (href, name) => {
    const link = document.createElement("a");
    link.href = href;
    link.download = name;
    link.click();
  };
  const png = (text, name) => {
    const image = new Image();
    image.addEventListener("load", () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [2 * image.width, 2 * image.height];
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      save(canvas.toDataURL("image/png"), name);
    });
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
  };
  const stem = (name) => name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 80) || "figure";

  for (const drawing of document.querySelectorAll("[data-figure]")) {
    const bar = document.createElement("p");
    bar.className = "save";
    for (const kind of ["SVG", "PNG"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = kind;
      button.setAttribute("aria-label", `Save ${drawing.dataset.figure} as ${kind}`);
      button.addEventListener("click", () => {
        const [text, name] = [draw(drawing), stem(drawing.dataset.figure)];
        if (kind === "SVG") save("data:image/svg+xml;charset=utf-8," + encodeURIComponent(text), name + ".svg");
        else png(text, name + ".png");
      });
      bar.append(button);
    }
    drawing.after(bar);
  }
})();
