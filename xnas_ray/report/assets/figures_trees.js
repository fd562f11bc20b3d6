// Decision trees: from the columns of one to a drawing whose nodes open and close.

const FEW_ROWS = 40; // rows that are open at first, as far as whole levels fit
const ROW = 26,
  PICTURE = 22,
  EDGE_WIDTH = 15,
  WIDTH = 815,
  LABELS = 270; // of it for the names of classes on the right, and what a sample is to them
const SCALE = 10000; // of the decisions in the report

/** What follows from the parents: children, depths, leaves below, and the order from top to bottom. */
function treeShape(tree) {
  if (tree.shape) return tree.shape;
  const count = tree.parents.length,
    children = tree.parents.map(() => []),
    depth = new Array(count).fill(0),
    below = new Array(count).fill(0),
    order = [];
  for (let i = 1; i < count; i++) {
    children[tree.parents[i]].push(i);
    depth[i] = depth[tree.parents[i]] + 1; // parents stand before what is below them
  }
  for (let i = count - 1; i >= 0; i--) {
    if (!children[i].length) below[i] = 1;
    if (i) below[tree.parents[i]] += below[i];
  }
  const waiting = [0];
  while (waiting.length) {
    const i = waiting.pop();
    order.push(i);
    waiting.push(...[...children[i]].reverse());
  }
  tree.shape = { children, depth, below, order };
  return tree.shape;
}

/** Nodes that are open at first: level by level, as long as there are not too many rows. */
function openAtFirst(tree) {
  const { children, depth, order } = treeShape(tree),
    open = new Set();
  let rows = 1;
  for (let level = 0; ; level++) {
    const inner = order.filter((i) => depth[i] === level && children[i].length);
    rows += inner.reduce((sum, i) => sum + children[i].length - 1, 0);
    if (!inner.length || (level && rows > FEW_ROWS)) return open;
    inner.forEach((i) => open.add(i));
  }
}

/** The nodes above one, from the root down to itself. */
function wayTo(tree, node) {
  const way = [];
  for (let i = node; i >= 0; i = tree.parents[i]) way.unshift(i);
  return way;
}

/** Classes below a node. */
function classesOf(tree, node) {
  const { children } = treeShape(tree),
    found = [],
    waiting = [node];
  while (waiting.length) {
    const i = waiting.pop();
    if (!children[i].length) found.push(tree.names[i]);
    waiting.push(...[...children[i]].reverse());
  }
  return found;
}

/** The probability that a sample arrives at every node; null where it is not known. */
function arriving(tree, sample) {
  if (!sample || !sample.decisions.length) return null;
  const found = [1];
  for (let i = 1; i < tree.parents.length; i++) found.push((found[tree.parents[i]] * sample.decisions[i]) / SCALE);
  return found;
}

/** The share of all samples that come by, of every node. */
function traversed(tree) {
  return tree.visits.map((v) => (tree.visits[0] ? v / tree.visits[0] : 0));
}

/** Where every visible node stands; leaves and closed nodes have a row each. */
function treePlaces(tree, open) {
  const { children, depth, order } = treeShape(tree),
    places = new Map();
  let rows = 0,
    deepest = 1;
  for (const i of order) {
    const parent = tree.parents[i];
    if (i && !(places.has(parent) && open.has(parent))) continue;
    const closed = !children[i].length || !open.has(i);
    places.set(i, { depth: depth[i], y: closed ? ROW * (rows++ + 0.8) : 0 });
    deepest = Math.max(deepest, depth[i]);
  }
  for (const i of [...places.keys()].reverse())
    if (children[i].length && open.has(i)) {
      const own = children[i].map((c) => places.get(c).y);
      places.get(i).y = (own[0] + own[own.length - 1]) / 2;
    }
  const step = Math.max(84, Math.min(150, (WIDTH - 16 - LABELS) / deepest));
  for (const place of places.values()) place.x = 16 + place.depth * step;
  return { places, step, width: 16 + deepest * step + LABELS, height: ROW * (rows + 0.6) };
}

const shortened = (text, length) => (text.length > length ? `${text.slice(0, Math.max(1, length - 1))}…` : text);
const percent = (share) => (share === null || Number.isNaN(share) ? "–" : `${number(Math.round(share * 1000) / 10)} %`);

/** What a sample is to the leaves: its label, and what is predicted for it; by the nearest node that is visible. */
function leafWords(tree, sample, places) {
  const words = new Map();
  if (!sample) return words;
  for (const [what, leaf] of [
    ["label", sample.target],
    ["network", sample.network],
    ["soft", sample.soft],
    ["hard", sample.hard],
  ]) {
    const seen = wayTo(tree, leaf)
      .filter((i) => places.has(i))
      .pop();
    words.set(seen, [...(words.get(seen) || []), what]);
  }
  return words;
}

/** The tree from left to right. Lines are as wide as nodes are visited, or as a chosen sample is likely to come by. */
function treeDrawing(tree, shown) {
  const laid = treePlaces(tree, shown.open),
    { places, width, height } = laid,
    way = new Set(shown.sample ? wayTo(tree, shown.sample.hard) : []),
    shares = arriving(tree, shown.sample) || traversed(tree),
    words = leafWords(tree, shown.sample, places);
  const edges = [...places.keys()]
    .filter((i) => i)
    .map((i) => {
      const [{ x: x1, y: y1 }, { x: x2, y: y2 }] = [places.get(tree.parents[i]), places.get(i)],
        middle = (x1 + x2) / 2;
      return svg("path", {
        class: way.has(i) ? "way" : "edge",
        d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`,
        "stroke-width": (0.8 + EDGE_WIDTH * (shares[i] || 0)).toFixed(2),
      });
    });
  const nodes = [...places.keys()].map((i) => nodeDrawing(tree, i, shown, laid, words.get(i) || []));
  const size = { viewBox: `0 0 ${width} ${height}`, width, height };
  return svg("svg", { class: "tree", role: "tree", ...size, keydown: shown.act.key }, svg("g", { "aria-hidden": "true" }, edges), nodes);
}

function nodeDrawing(tree, i, { open, node, sample, pictures, id, act }, { places, step }, words) {
  const inner = treeShape(tree).children[i].length > 0,
    closed = inner && !open.has(i),
    { x, y, depth } = places.get(i);
  const properties = {
    id: `${id}-${i}`,
    role: "treeitem",
    class: i === node ? "chosen" : null,
    tabindex: i === node ? 0 : -1,
    "aria-level": depth + 1,
    "aria-expanded": inner ? String(!closed) : null,
    "aria-selected": String(i === node),
    "aria-label": nodeWords(tree, i, sample),
    "data-node": i,
    click: () => act.press(i),
    pointerenter: (event) => act.point(event, i),
    pointerleave: hideHover,
  };
  const colour = tree.right[i] === null ? "fill: var(--line)" : `--right: ${(100 * tree.right[i]).toFixed(0)}%`,
    sign = `M${x - 3} ${y}h6${closed ? `M${x} ${y - 3}v6` : ""}`;
  return svg(
    "g",
    properties,
    svg("circle", { cx: x, cy: y, r: inner ? 7 : 5, style: colour }),
    inner ? svg("path", { class: "sign", d: sign }) : null,
    inner && !closed ? overName(tree, i, x, y, step) : rowName(tree, i, x, y, closed, words, pictures),
    sample && sample.decisions.length && i
      ? svg("text", { class: "over share", x: x - 10, y: y + 15 }, percent(decided(sample, i)))
      : null,
  );
}

/** The name of an open node, above the line that leads to it; the root has a row to itself in the panel. */
function overName(tree, i, x, y, step) {
  const plain = tree.names[i].replace(/ \(\d+ classes\)$/, ""), // which can be counted
    name = shortened(plain, Math.floor((step - 14) / 5.4));
  return i ? svg("text", { class: "over", x: x - 10, y: y - 8 }, name) : null;
}

/** The name of a leaf or a closed node, with a picture and what a sample is to it. */
function rowName(tree, i, x, y, closed, words, pictures) {
  const place = firstPictures(tree).get(i),
    picture = place === undefined ? null : pictures[place];
  return [
    picture ? svg("image", { href: picture, x: x + 12, y: y - PICTURE / 2, width: PICTURE, height: PICTURE }) : null,
    svg(
      "text",
      { x: x + 12 + (picture ? PICTURE + 5 : 0), y: y + 4 },
      shortened(tree.names[i], words.length ? 12 : 26),
      closed && !words.length ? svg("tspan", { class: "soft" }, ` +${treeShape(tree).below[i]}`) : null,
      words.length ? svg("tspan", { class: "mark" }, ` ${words.join(", ")}`) : null,
    ),
  ];
}

/** The probability of the decision for a node. */
function decided(sample, node) {
  return sample.decisions[node] === null ? null : sample.decisions[node] / SCALE;
}

/** By node the picture of its first example. */
function firstPictures(tree) {
  if (tree.firsts) return tree.firsts;
  const firsts = new Map();
  for (const s of tree.samples)
    if (s.group === "similar" && s.picture !== null && !firsts.has(s.node)) firsts.set(s.node, s.picture);
  tree.firsts = firsts;
  return firsts;
}

/** A node in words, for those who do not see it. */
function nodeWords(tree, i, sample) {
  const { children, below } = treeShape(tree);
  const parts = [tree.names[i]];
  if (children[i].length) parts.push(`${below[i]} classes`);
  parts.push(`${number(tree.visits[i])} samples come by`);
  if (tree.right[i] !== null) parts.push(`${percent(tree.right[i])} of its own samples`);
  if (sample && i && sample.decisions.length) parts.push(`decided for with ${percent(decided(sample, i))}`);
  return parts.join(", ");
}
