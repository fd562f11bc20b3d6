// What everything on the page is made of: elements that hold text alone, and the drawings of cells.

const SVG = "http://www.w3.org/2000/svg";
// Characters that would steer a terminal or turn the direction of the text around.
const STEERING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Text that cannot do anything but be read. */
function clean(text) {
  return String(text).replace(STEERING, "\ufffd");
}

/** Text for plotly, which reads some tags and entities. */
function label(text, length = 60) {
  const short = clean(text).replace(/\s+/g, " ");
  const cut = short.length > length ? short.slice(0, length - 1) + "…" : short;
  return cut.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/** Labels of the places of an axis, which plotly would take for one where they are equal. */
function labels(texts, length) {
  const times = new Map();
  return texts.map((text) => {
    const short = label(text, length);
    times.set(short, (times.get(short) || 0) + 1);
    return times.get(short) > 1 ? `${short} (${times.get(short)})` : short;
  });
}

/** An element; properties that are functions are listeners, children that are no nodes are text. */
function element(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

function svg(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, clean(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(clean(child)));
  }
  return node;
}

/** A number as people read it. */
function number(value, unit = "") {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  let text;
  if (size !== 0 && (size >= 1e15 || size < 1e-4)) text = value.toExponential(3);
  else if (Number.isInteger(value)) text = value.toLocaleString("en");
  else text = value.toLocaleString("en", { maximumSignificantDigits: size < 1000 ? 5 : 6 });
  return unit ? `${text} ${unit}` : text;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 120) return `${number(Math.round(seconds * 100) / 100)} s`;
  if (seconds < 7200) return `${number(Math.round(seconds / 6) / 10)} min`;
  return `${number(Math.round(seconds / 360) / 10)} h`;
}

// ---- cells ----------------------------------------------------------------------------------------------------------

const STEP = 46,
  RISE = 30,
  EDGE = 20,
  NODE = 9;

/** One cell: nodes coloured by operation, from the inputs on the left to the outputs on the right. */
function cellDrawing(cell, operations, colours, scale = 1) {
  const [, nodes, edges] = cell;
  const places = [];
  for (let i = 0; i < nodes.length; i += 3)
    places.push({ op: operations[nodes[i]], x: nodes[i + 1], y: -nodes[i + 2] / 2 });
  const low = Math.min(0, ...places.map((p) => p.y)),
    high = Math.max(0, ...places.map((p) => p.y));
  const right = Math.max(0, ...places.map((p) => p.x));
  let bent = 0;
  const at = (p) => [EDGE + p.x * STEP, EDGE + (p.y - low) * RISE];
  const lines = [];
  for (let i = 0; i < edges.length; i += 2) {
    const [from, to] = [places[edges[i]], places[edges[i + 1]]];
    const [[x1, y1], [x2, y2]] = [at(from), at(to)];
    const long = to.x - from.x > 1; // it would hide behind what it passes
    const lift = long ? 10 + 7 * (to.x - from.x) + (y1 === y2 ? 6 : 0) : 0;
    bent = Math.max(bent, lift);
    lines.push(...edgeDrawing(x1, y1, x2, y2, lift));
  }
  const [width, height] = [right * STEP + 2 * EDGE, (high - low) * RISE + 2 * EDGE];
  const circles = places.map((p) => {
    const [cx, cy] = at(p);
    return svg("circle", { cx, cy, r: NODE, fill: colours[p.op] || "#ffffff" }, svg("title", {}, p.op));
  });
  const box = `0 ${-bent / 2} ${width} ${height + bent / 2}`;
  const words = places.map((p) => p.op).join(", ");
  return svg(
    "svg",
    {
      class: "cell",
      viewBox: box,
      width: width * scale,
      height: (height + bent / 2) * scale,
      role: "img",
      "aria-label": words,
    },
    lines,
    circles,
  );
}

function edgeDrawing(x1, y1, x2, y2, lift) {
  const [mx, my] = [(x1 + x2) / 2, (y1 + y2) / 2 - lift * 1.4];
  const [sx, sy] = lift ? [mx, my] : [x1, y1];
  const length = Math.hypot(x2 - sx, y2 - sy) || 1;
  const [ux, uy] = [(x2 - sx) / length, (y2 - sy) / length];
  const [ex, ey] = [x2 - ux * (NODE + 1), y2 - uy * (NODE + 1)];
  const tip = `M${ex} ${ey}L${ex - 6 * ux - 3 * uy} ${ey - 6 * uy + 3 * ux}L${ex - 6 * ux + 3 * uy} ${ey - 6 * uy - 3 * ux}Z`;
  const line = lift ? `M${x1} ${y1}Q${mx} ${my} ${ex} ${ey}` : `M${x1} ${y1}L${ex} ${ey}`;
  return [svg("path", { d: line }), svg("path", { class: "head", d: tip })];
}

/** All cells of a drawing of a search; drawn now, from a few numbers. */
function drawing(search, which, scale = 1) {
  const cells = search.drawings[which].map((cell) =>
    element(
      "figure",
      {},
      cellDrawing(cell, search.operations, report.operations, scale),
      search.drawings[which].length > 1 ? element("figcaption", {}, cell[0]) : null,
    ),
  );
  return element("div", { class: "cells" }, cells);
}

/** The architecture of a trial: drawn where its space is known, as text otherwise. */
function architecture(search, row, scale = 1) {
  if (search.drawn) return drawing(search, search.drawn[row], scale);
  return element("code", {}, search.trials.texts[search.trials.architecture[row]]);
}

/** The one legend of operations. */
function legend(operations) {
  const entries = operations.map((name) =>
    element("span", {}, element("span", { class: "swatch", style: `background:${report.operations[name]}` }), name),
  );
  return element("div", { class: "legend", "aria-label": "colours of operations" }, entries);
}
