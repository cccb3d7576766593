// Maps of embeddings: all points on a canvas, the one pointed at, its picture and its neighbors above them.
(() => {
  const source = document.getElementById("map-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const LOOKS = 84, NONE = -1, REACH = 14, ZOOM = 400, EDGE = 0.04, MANY = 3000;
  const root = document.documentElement;
  const card = document.getElementById("map-card");
  const lens = document.getElementById("map-lens");
  const shown = new Set(); // classes that are isolated; none: all are shown
  const panels = [];
  let active = NONE, pinned = false, focus = null;

  const inflate = async (text) => {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  };
  const visible = (i) => !shown.size || shown.has(data.label[i]);
  const name = (i) => data.ids[i] + (data.clip ? ` · clip ${data.clip[i] + 1}` : "");

  // ---- markers: drawn once, copied for every point
  const SHAPES = [
    (c, r) => c.arc(0, 0, r, 0, 7),
    (c, r) => c.rect(-r * 0.9, -r * 0.9, r * 1.8, r * 1.8),
    (c, r) => polygon(c, [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]], r),
    (c, r) => polygon(c, [[0, -1.2], [1.15, 0.9], [-1.15, 0.9]], r),
    (c, r) => polygon(c, [[0, 1.2], [1.15, -0.9], [-1.15, -0.9]], r),
    (c, r) => polygon(c, [[-0.4, -1.2], [0.4, -1.2], [0.4, -0.4], [1.2, -0.4], [1.2, 0.4], [0.4, 0.4],
      [0.4, 1.2], [-0.4, 1.2], [-0.4, 0.4], [-1.2, 0.4], [-1.2, -0.4], [-0.4, -0.4]], r),
  ];
  const polygon = (c, corners, r) => {
    for (const [x, y] of corners) c.lineTo(x * r, y * r);
    c.closePath();
  };
  const color = (part) => getComputedStyle(document.getElementById(`map-${part}`)).color;
  let palette;
  const readColors = () => {
    palette = { ink: color("ink"), soft: color("soft"), card: color("ground"), of: [0, 1, 2, 3, 4, 5, 6].map((i) => color(`c${i}`)) };
  };
  const marker = (context, look, r) => {
    context.beginPath();
    SHAPES[look % 6](context, r);
    const hollow = look >= LOOKS / 2;
    context.fillStyle = hollow ? palette.card : palette.of[look % 7];
    context.strokeStyle = hollow ? palette.of[look % 7] : palette.card;
    context.lineWidth = hollow ? r * 0.5 : Math.min(1, r * 0.25);
    context.fill();
    context.stroke();
  };
  const packed = (text) => { // a color as a pixel
    const [r, g, b] = text.match(/\d+/g).map(Number);
    return (255 << 24 | b << 16 | g << 8 | r) >>> 0;
  };
  const stamps = (r, ratio, width) => { // every marker as pixels of a row of `width`: thousands are copied in a frame
    const side = Math.ceil((r * 2.6 + 3) * ratio), count = Math.min(data.classes.length, LOOKS), made = [];
    const sheet = Object.assign(document.createElement("canvas"), { width: side, height: side });
    const context = sheet.getContext("2d", { willReadFrequently: true });
    for (let look = 0; look <= count; look++) { // the last one is that of classes that are not shown
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, side, side);
      context.setTransform(ratio, 0, 0, ratio, side / 2, side / 2);
      if (look < count) marker(context, look, r);
      else {
        context.globalAlpha = 0.35;
        context.fillStyle = palette.soft;
        context.beginPath();
        context.arc(0, 0, Math.max(r * 0.6, 1), 0, 7);
        context.fill();
      }
      const pixels = context.getImageData(0, 0, side, side).data, stamp = { offset: [], alpha: [], color: [] };
      for (let i = 0; i < side * side; i++) {
        const alpha = pixels[4 * i + 3];
        if (alpha < 8) continue;
        stamp.offset.push(Math.floor(i / side) * width + i % side);
        stamp.alpha.push(alpha > 247 ? 256 : alpha);
        stamp.color.push((255 << 24 | pixels[4 * i + 2] << 16 | pixels[4 * i + 1] << 8 | pixels[4 * i]) >>> 0);
      }
      made.push({
        offset: Int32Array.from(stamp.offset), alpha: Uint16Array.from(stamp.alpha), color: Uint32Array.from(stamp.color),
      });
    }
    return { side, made, ratio, gray: count };
  };
  const blit = (pixels, base, { offset, alpha, color }) => {
    for (let s = 0; s < offset.length; s++) {
      const at = base + offset[s], a = alpha[s], over = color[s];
      if (a === 256) { pixels[at] = over; continue; }
      const under = pixels[at], rest = 256 - a;
      const redBlue = ((over & 0xff00ff) * a + (under & 0xff00ff) * rest) >>> 8 & 0xff00ff;
      const green = ((over & 0xff00) * a + (under & 0xff00) * rest) >>> 8 & 0xff00;
      pixels[at] = 0xff000000 | redBlue | green;
    }
  };

  // ---- one panel
  class Panel {
    constructor(element, map) {
      this.map = map;
      this.element = element;
      [this.back, this.front] = element.querySelectorAll("canvas");
      this.pending = this.moving = false;
      this.pointers = new Map();
      this.reset();
      this.index();
      this.listen();
      new ResizeObserver(() => this.resize()).observe(element);
    }
    reset() { this.zoom = 1; this.left = 0; this.top = 0; }
    index() { // a grid of cells, to find the point at a place
      const { x, y } = this.map, cells = 64, start = new Uint32Array(cells * cells + 1);
      const cell = (i) => Math.min(cells - 1, y[i] * cells | 0) * cells + Math.min(cells - 1, x[i] * cells | 0);
      for (let i = 0; i < x.length; i++) start[cell(i) + 1]++;
      for (let i = 0; i < cells * cells; i++) start[i + 1] += start[i];
      const items = new Uint32Array(x.length), next = start.slice();
      for (let i = 0; i < x.length; i++) items[next[cell(i)]++] = i;
      this.grid = { cells, start, items };
    }
    resize() {
      const box = this.element.getBoundingClientRect();
      if (!box.width) return;
      this.ratio = Math.min(devicePixelRatio || 1, 2);
      this.width = box.width;
      this.height = box.height;
      for (const canvas of [this.back, this.front]) {
        canvas.width = Math.round(box.width * this.ratio);
        canvas.height = Math.round(box.height * this.ratio);
      }
      this.stamps = null;
      this.draw();
    }
    get size() { return Math.min(this.width, this.height) * (1 - 2 * EDGE) * this.zoom; }
    at(i) { // the place of a point on the panel, pixels
      const size = this.size;
      return [
        this.width / 2 + (this.map.x[i] - 0.5) * size + this.left,
        this.height / 2 + (this.map.y[i] - 0.5) * size + this.top,
      ];
    }
    radius() {
      const few = Math.max(1.7, Math.min(4.6, 90 / Math.sqrt(data.n + 200)));
      return Math.min(6, few * Math.pow(this.zoom, 0.3));
    }
    draw() {
      if (this.pending) return;
      this.pending = true;
      requestAnimationFrame(() => { this.pending = false; this.paint(); this.mark(); });
    }
    paint() {
      if (!this.width) return;
      const ratio = this.moving ? 1 : this.ratio, wide = Math.round(this.width * ratio), high = Math.round(this.height * ratio);
      if (this.back.width !== wide || this.back.height !== high) Object.assign(this.back, { width: wide, height: high });
      const r = Math.round(this.radius() * 4) / 4, room = Math.ceil(24 * ratio); // around what is seen
      const across = this.back.width + 2 * room, down = this.back.height + 2 * room;
      if (!this.stamps || this.r !== r || this.stamps.ratio !== ratio) { this.r = r; this.stamps = stamps(r, ratio, across); }
      if (!this.image || this.image.width !== across || this.image.height !== down) {
        this.image = new ImageData(across, down);
        this.pixels = new Uint32Array(this.image.data.buffer);
      }
      const { pixels } = this, { x, y } = this.map, { label, order } = data, { side, made, gray } = this.stamps;
      pixels.fill(packed(palette.card));
      const scale = this.size * ratio, most = [across - side - 1, down - side - 1];
      const left = (this.width / 2 + this.left) * ratio - scale / 2 - side / 2 + room;
      const top = (this.height / 2 + this.top) * ratio - scale / 2 - side / 2 + room;
      for (const turn of shown.size ? [false, true] : [true]) {
        for (const i of order) {
          if (shown.size && shown.has(label[i]) !== turn) continue;
          const h = Math.round(x[i] * scale + left), v = Math.round(y[i] * scale + top);
          if (h < 0 || v < 0 || h > most[0] || v > most[1]) continue;
          blit(pixels, v * across + h, made[turn ? label[i] % LOOKS : gray]);
        }
      }
      this.back.getContext("2d").putImageData(this.image, -room, -room);
    }
    mark() { // the active point and its neighbors in the full space of this encoder
      const context = this.front.getContext("2d");
      context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
      context.clearRect(0, 0, this.width, this.height);
      if (active === NONE) return;
      const [x, y] = this.at(active), near = this.map.neighbors(active);
      context.strokeStyle = palette.ink;
      for (const j of near) {
        const [u, v] = this.at(j);
        context.lineWidth = 1;
        context.globalAlpha = 0.7;
        context.beginPath();
        context.moveTo(x, y);
        context.lineTo(u, v);
        context.stroke();
      }
      context.globalAlpha = 1;
      for (const j of [...near, active]) {
        const [u, v] = this.at(j), own = j === active;
        context.save();
        context.translate(u, v);
        marker(context, data.label[j] % LOOKS, Math.max(this.r, 3.5) * (own ? 1.5 : 1));
        context.restore();
        if (!own) continue;
        context.lineWidth = 2;
        context.strokeStyle = palette.ink;
        context.beginPath();
        context.arc(u, v, Math.max(this.r, 3.5) * 1.5 + 4, 0, 7);
        context.stroke();
      }
    }
    nearest(px, py, reach) {
      const size = this.size, { cells, start, items } = this.grid;
      const x = (px - this.width / 2 - this.left) / size + 0.5, y = (py - this.height / 2 - this.top) / size + 0.5;
      const span = reach / size, cell = (value) => Math.floor(Math.max(0, Math.min(cells - 1, value * cells)));
      let best = NONE, least = span * span;
      for (let row = cell(y - span); row <= cell(y + span); row++) {
        for (let k = start[row * cells + cell(x - span)]; k < start[row * cells + cell(x + span) + 1]; k++) {
          const i = items[k], far = (this.map.x[i] - x) ** 2 + (this.map.y[i] - y) ** 2;
          if (far <= least && visible(i)) { least = far; best = i; }
        }
      }
      return best;
    }
    step(dx, dy) { // the closest point in a direction from the active one
      const [x, y] = this.at(active);
      let best = NONE, least = Infinity;
      for (let i = 0; i < data.n; i++) {
        if (i === active || !visible(i)) continue;
        const [u, v] = this.at(i), along = (u - x) * dx + (v - y) * dy, aside = Math.abs((u - x) * dy) + Math.abs((v - y) * dx);
        if (along <= 0.01 || aside > along) continue;
        const cost = along + 2 * aside;
        if (cost < least) { least = cost; best = i; }
      }
      return best === NONE ? active : best;
    }
    scale(factor, px = this.width / 2, py = this.height / 2) {
      const zoom = Math.max(1, Math.min(ZOOM, this.zoom * factor)), change = zoom / this.zoom;
      this.left = (this.left - (px - this.width / 2)) * change + (px - this.width / 2);
      this.top = (this.top - (py - this.height / 2)) * change + (py - this.height / 2);
      this.zoom = zoom;
      this.hold();
    }
    hold() { // never lose the points out of sight
      const over = this.size / 2;
      this.left = Math.max(-over, Math.min(over, this.left));
      this.top = Math.max(-over, Math.min(over, this.top));
      this.front.style.touchAction = this.zoom > 1 ? "none" : "pan-y";
      this.coarse();
      this.draw();
      if (focus === this) place();
    }
    coarse() { // many points on a fine screen: half as fine while they move
      if (this.ratio <= 1 || data.n < MANY) return;
      this.moving = true;
      clearTimeout(this.still);
      this.still = setTimeout(() => { this.moving = false; this.draw(); }, 150);
    }
    reveal(i) { // bring a point into view
      const [x, y] = this.at(i), edge = 20;
      this.left += Math.max(edge - x, 0) + Math.min(this.width - edge - x, 0);
      this.top += Math.max(edge - y, 0) + Math.min(this.height - edge - y, 0);
      this.hold();
    }
    place(event) {
      const box = this.front.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    }
    listen() {
      const canvas = this.front;
      canvas.addEventListener("pointerdown", (event) => {
        this.pointers.set(event.pointerId, this.place(event));
        this.moved = 0;
        canvas.setPointerCapture(event.pointerId);
      });
      canvas.addEventListener("pointermove", (event) => {
        if (!this.pointers.has(event.pointerId)) { this.hover(event); return; }
        const before = this.pointers.get(event.pointerId), now = this.place(event);
        this.pointers.set(event.pointerId, now);
        const other = [...this.pointers].find(([id]) => id !== event.pointerId);
        if (other) {
          const apart = ([x, y]) => Math.hypot(x - other[1][0], y - other[1][1]) || 1;
          this.scale(apart(now) / apart(before), (now[0] + other[1][0]) / 2, (now[1] + other[1][1]) / 2);
        } else {
          this.left += now[0] - before[0];
          this.top += now[1] - before[1];
          this.hold();
        }
        this.moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
      });
      const up = (event) => {
        const clicked = event.type === "pointerup" && this.pointers.size === 1 && this.moved < 4;
        this.pointers.delete(event.pointerId);
        if (!clicked) return;
        const found = this.nearest(...this.place(event), event.pointerType === "touch" ? 2 * REACH : REACH);
        select(this, found, found !== NONE);
      };
      canvas.addEventListener("pointerup", up);
      canvas.addEventListener("pointercancel", up);
      canvas.addEventListener("pointerleave", () => { if (!pinned && document.activeElement !== canvas) select(this, NONE); });
      canvas.addEventListener("wheel", (event) => {
        if (document.activeElement !== canvas && !event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        this.scale(Math.exp(-event.deltaY / 300), ...this.place(event));
      }, { passive: false });
      canvas.addEventListener("dblclick", (event) => this.scale(2, ...this.place(event)));
      canvas.addEventListener("focus", () => {
        if (!canvas.matches(":focus-visible")) return;
        select(this, active === NONE ? this.nearest(this.width / 2, this.height / 2, Infinity) : active, true);
      });
      canvas.addEventListener("blur", () => select(this, NONE));
      canvas.addEventListener("keydown", (event) => { if (this.key(event.key)) event.preventDefault(); });
      for (const button of this.element.querySelectorAll("button")) {
        button.addEventListener("click", () => this.key(button.dataset.key));
      }
    }
    hover(event) {
      if (pinned || event.pointerType === "touch") return;
      const found = this.nearest(...this.place(event), REACH);
      if (found !== active || focus !== this) select(this, found);
    }
    key(key) {
      const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      if (key === "+" || key === "=") this.scale(1.5);
      else if (key === "-") this.scale(1 / 1.5);
      else if (key === "0") { this.reset(); this.hold(); }
      else if (key === "Escape") select(this, NONE);
      else if (active !== NONE && key in steps) this.go(this.step(...steps[key]));
      else if (active !== NONE && key === "n" && this.map.neighbors(active).length) this.go(this.map.neighbors(active)[0]);
      else return false;
      return true;
    }
    go(i) { select(this, i, true); this.reveal(i); }
  }

  // ---- the active point and its card
  const select = (panel, i, pin = false) => {
    pinned = pin && i !== NONE;
    if (i === active && focus === panel) return;
    active = i;
    focus = i === NONE ? null : panel;
    for (const each of panels) each.mark();
    describe();
  };
  const line = (i, words) => {
    const row = document.createElement("li"), mark = document.createElement("canvas"), text = document.createElement("span");
    mark.width = mark.height = 32;
    mark.setAttribute("aria-hidden", "true");
    const context = mark.getContext("2d");
    context.setTransform(2, 0, 0, 2, 16, 16);
    marker(context, data.label[i] % LOOKS, 4.6);
    const label = document.createElement("b"), id = document.createElement("i");
    label.textContent = data.classes[data.label[i]];
    id.textContent = `${name(i)}${words}`;
    text.append(label, id);
    row.append(mark, text);
    return row;
  };
  const describe = () => {
    card.hidden = active === NONE;
    if (active === NONE) return;
    const near = focus.map.neighbors(active);
    const same = near.filter((j) => data.label[j] === data.label[active]).length;
    card.querySelector("ul").replaceChildren(line(active, ""));
    card.querySelector("p").textContent = near.length
      ? `Nearest in the full space of ${focus.map.encoder}, ${same} of ${near.length} of the same class:` : "";
    card.querySelector("ol").replaceChildren(...near.map((j) => line(j, "")));
    picture(active);
    place();
  };
  const picture = (i) => {
    const tile = data.tile ? data.tile.get(i) : undefined;
    lens.hidden = tile === undefined || !data.image;
    if (lens.hidden) return;
    const { side, columns, sizes } = data.sprites, [width, height] = sizes[tile];
    lens.width = width * 2;
    lens.height = height * 2;
    lens.getContext("2d").drawImage(
      data.image, tile % columns * side, Math.floor(tile / columns) * side, width, height, 0, 0, width * 2, height * 2);
  };
  const place = () => {
    if (active === NONE || card.hidden) return;
    const [x, y] = focus.at(active), panel = focus.element.getBoundingClientRect(), box = card.getBoundingClientRect();
    const h = panel.left + Math.max(0, Math.min(panel.width, x)), v = panel.top + Math.max(0, Math.min(panel.height, y));
    const gap = 20, edge = 8, after = h + gap + box.width <= innerWidth - edge, before = h - gap - box.width >= edge;
    const beside = after || before, middle = Math.min(h - box.width / 2, innerWidth - box.width - edge);
    const below = v + gap + box.height <= innerHeight - edge ? v + gap : v - gap - box.height;
    card.style.left = `${Math.max(edge, after ? h + gap : before ? h - gap - box.width : middle)}px`;
    card.style.top = `${Math.max(edge, beside ? Math.min(v - box.height / 2, innerHeight - box.height - edge) : below)}px`;
  };
  addEventListener("scroll", () => { if (!pinned) { if (focus) select(focus, NONE); } else place(); }, true);

  // ---- legend
  const legend = document.getElementById("map-legend");
  const buttons = [...legend.querySelectorAll("button[data-class]")];
  const all = document.getElementById("map-all");
  const isolate = (label, more) => {
    const alone = shown.size === 1 && shown.has(label);
    if (more && shown.has(label)) shown.delete(label);
    else if (more) shown.add(label);
    else { shown.clear(); if (!alone) shown.add(label); }
    refresh();
  };
  const refresh = () => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(shown.has(Number(button.dataset.class))));
    legend.classList.toggle("some", shown.size > 0);
    all.disabled = !shown.size;
    if (focus) select(focus, NONE);
    for (const panel of panels) panel.draw();
  };
  for (const button of buttons) {
    button.addEventListener("click", (event) => isolate(Number(button.dataset.class), event.shiftKey || event.ctrlKey || event.metaKey));
  }
  all.addEventListener("click", () => { shown.clear(); refresh(); });
  const find = document.getElementById("map-find");
  if (find) find.addEventListener("input", () => {
    const word = find.value.toLowerCase();
    for (const button of buttons) button.parentElement.hidden = !button.textContent.toLowerCase().includes(word);
  });

  // ---- theme
  const recolor = () => {
    readColors();
    for (const panel of panels) { panel.stamps = null; panel.draw(); }
    describe();
  };
  new MutationObserver(recolor).observe(root, { attributes: true, attributeFilter: ["style", "data-theme", "class"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);

  // ---- start
  const start = async () => {
    const Index = data.n > 65535 ? Uint32Array : Uint16Array, nobody = data.n > 65535 ? 4294967295 : 65535;
    data.label = new Uint16Array(await inflate(data.label));
    data.ids = new TextDecoder().decode(await inflate(data.ids)).split("\n");
    if (data.clip) data.clip = new Uint32Array(await inflate(data.clip));
    const near = {};
    for (const [encoder, packed] of Object.entries(data.neighbors)) near[encoder] = new Index(await inflate(packed));
    // points in an order that hides no class behind another: a step that shares no factor with their number
    let step = Math.max(1, Math.round(data.n * 0.618));
    const gcd = (a, b) => (b ? gcd(b, a % b) : a);
    while (gcd(step, data.n) > 1) step++;
    data.order = new Uint32Array(data.n);
    for (let i = 0; i < data.n; i++) data.order[i] = i * step % data.n;
    readColors();
    const elements = [...document.querySelectorAll(".map-panel")];
    for (let m = 0; m < data.maps.length; m++) {
      const map = data.maps[m], flat = new Uint16Array(await inflate(map.places)), own = near[map.encoder];
      map.x = Float32Array.from({ length: data.n }, (_, i) => flat[i] / 65535);
      map.y = Float32Array.from({ length: data.n }, (_, i) => 1 - flat[data.n + i] / 65535);
      map.neighbors = (i) => [...own.subarray(i * data.near, (i + 1) * data.near)].filter((j) => j !== nobody);
      panels.push(new Panel(elements[m], map));
    }
    document.getElementById("map-main").classList.add("ready");
    if (!data.sprites) return;
    data.tile = new Map(data.sprites.points.map((point, tile) => [point, tile]));
    const image = new Image();
    image.onload = () => { data.image = image; };
    image.src = data.sprites.image;
  };
  start();
})();
