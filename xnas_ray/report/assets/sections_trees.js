// The section of decision trees: one of them, what is chosen in it, and samples that can be followed through it.

// By search, what somebody chose: {trial, node, sample, open: by trial the nodes that are open}.
const grown = new Map();

function fillTrees(part) {
  for (const [search, s] of eachSearch((one) => one.trees)) {
    const { trees, notes } = search.trees;
    part(`name ${s}`, () => (report.searches.length > 1 ? element("h3", {}, swatch(search), nameOf(search)) : null));
    part(`notes ${s}`, () => notes.map((note) => element("p", { class: "error" }, note)));
    if (!trees.length) continue;
    const now = treeView(search),
      frame = () => document.querySelector(`#tree-${s} .wide`),
      focused = document.activeElement && document.activeElement.closest(`#tree-${s} [data-node]`),
      across = frame() ? frame().scrollLeft : 0;
    part(`tools ${s}`, () => treeTools(search, s, now));
    part(`samples ${s}`, () => sampleStrip(search, now));
    part(`tree ${s}`, () =>
      element(
        "div",
        { class: "grown", id: `tree-${s}` },
        element("div", { class: "wide" }, drawnTree(search, s, now)),
        element("div", { class: "about", "aria-live": "polite" }, aboutSample(search, now), aboutNode(search, now)),
      ),
    );
    frame().scrollLeft = across;
    if (focused) focusNode(s, now.node);
  }
}

/** What is shown of a search's trees; the first tree, until another one is asked for. */
function treeView(search) {
  const { trees } = search.trees;
  if (!grown.has(search.id)) grown.set(search.id, { trial: null, node: 0, sample: null, open: new Map() });
  const now = grown.get(search.id);
  now.tree = trees.find((tree) => tree.trial === now.trial) || trees[0];
  if (now.tree.trial !== now.trial) Object.assign(now, { trial: now.tree.trial, node: 0, sample: null });
  if (!now.open.has(now.trial)) now.open.set(now.trial, openAtFirst(now.tree));
  return now;
}

function changeTree(search, what) {
  Object.assign(grown.get(search.id), what);
  hideHover();
  refresh("trees");
}

/** Show the tree of a trial, from wherever that is asked for. */
function showTree(s, trial) {
  const search = report.searches[s];
  treeView(search);
  select(null);
  changeTree(search, { trial, node: 0, sample: null });
  document.getElementById(`tree-${s}`).scrollIntoView({ block: "center" });
  focusNode(s, 0);
}

function focusNode(s, node) {
  const found = document.getElementById(`tree-${s}-${node}`);
  if (found) found.focus({ preventScroll: true });
}

function treeTools(search, s, now) {
  const words = (trial) => {
    const row = search.rows.get(trial),
      kind = search.front && search.front.includes(trial) ? " (front)" : "";
    const values = search.objectives.map((o) => `${o.name} ${number((search.metrics[o.name] || [])[row], o.unit)}`);
    return `trial ${trial}${kind}: ${values.join(", ")}`;
  };
  const { children, order } = treeShape(now.tree),
    inner = order.filter((i) => children[i].length),
    open = (nodes) => changeTree(search, { open: new Map(now.open).set(now.trial, new Set(nodes)) });
  return element(
    "div",
    { class: "tools" },
    selectOf(
      "tree of",
      now.trial,
      search.trees.trees.map((tree) => [tree.trial, words(tree.trial)]),
      (trial) => changeTree(search, { trial: Number(trial), node: 0, sample: null }),
    ),
    trialButton(s, now.trial, "all about this trial"),
    element("button", { type: "button", click: () => open(inner) }, "open all"),
    element("button", { type: "button", click: () => open(openAtFirst(now.tree)) }, "as at first"),
    search.trees.of > search.trees.trees.length
      ? element("span", { class: "soft" }, `${search.trees.trees.length} of ${number(search.trees.of)} trees`)
      : null,
  );
}

// ---- samples --------------------------------------------------------------------------------------------------------

function pictureOf(search, sample, size) {
  const { pictures } = search.trees;
  if (sample.picture === null) return null;
  return element("img", { src: pictures[sample.picture], alt: "", style: `width: ${size}px; height: ${size}px` });
}

/** A sample as a button that shows its way, or takes it away again. */
function sampleButton(search, now, sample, size) {
  const chosen = now.sample === sample.place,
    name = now.tree.names[sample.target];
  return element(
    "button",
    {
      type: "button",
      class: "sample",
      "data-sample": sample.place,
      "aria-pressed": String(chosen),
      "aria-label": `sample ${sample.sample}, labelled ${name}`,
      click: () => pickSample(search, now, chosen ? null : sample),
    },
    pictureOf(search, sample, size),
    element("span", {}, name),
  );
}

/** Follow a sample: what lies on its way, and on the way to its label, is opened. */
function pickSample(search, now, sample) {
  const open = new Set(now.open.get(now.trial));
  if (sample) for (const leaf of [sample.hard, sample.target]) wayTo(now.tree, leaf).forEach((i) => open.add(i));
  changeTree(search, { sample: sample ? sample.place : null, open: new Map(now.open).set(now.trial, open) });
}

function sampleStrip(search, now) {
  const { samples, note } = now.tree;
  samples.forEach((sample, place) => (sample.place = place));
  if (!samples.length) return element("p", { class: "soft" }, note);
  const ambiguous = samples.filter((sample) => sample.group === "ambiguous");
  if (!ambiguous.length) return null;
  const words = `The ${ambiguous.length} samples with the largest path entropy: of one decision on their way the tree is sure, of another it is not. Choose one to see it:`;
  return [
    element("p", { class: "soft" }, words),
    element(
      "div",
      { class: "samples", role: "group", "aria-label": "ambiguous samples" },
      ambiguous.map((sample) => sampleButton(search, now, sample, 56)),
    ),
  ];
}

function chosenSample(now) {
  return now.sample === null ? null : now.tree.samples[now.sample] || null;
}

/** What the network and the tree say of the sample that is chosen, and its way in words. */
function aboutSample(search, now) {
  const { tree } = now,
    sample = chosenSample(now);
  if (!sample) return null;
  const way = wayTo(tree, sample.hard).slice(1),
    share = (i) => (sample.decisions.length ? ` ${percent(decided(sample, i))}` : "");
  return [
    element("h3", {}, `Sample ${sample.sample}`),
    pictureOf(search, sample, 112),
    facts([
      ["labelled", tree.names[sample.target]],
      ["network", tree.names[sample.network]],
      ["soft", tree.names[sample.soft]],
      ["hard", tree.names[sample.hard]],
      ["path entropy", `${number(Math.round(sample.path_entropy * 1e4) / 1e4)} nats`],
    ]),
    element(
      "ol",
      { "aria-label": "its way" },
      way.map((i) => element("li", {}, `${shortened(tree.names[i], 40)}${share(i)}`)),
    ),
    element("button", { type: "button", click: () => changeTree(search, { sample: null }) }, "back to all samples"),
  ];
}

// ---- nodes ----------------------------------------------------------------------------------------------------------

function drawnTree(search, s, now) {
  const { tree } = now,
    open = now.open.get(now.trial),
    sample = chosenSample(now),
    drawn = treeDrawing(tree, {
      open,
      node: now.node,
      sample,
      pictures: search.trees.pictures,
      id: `tree-${s}`,
      act: {
        press: (i) => turnNode(search, s, now, i),
        point: (event, i) => hoverNode(event, search, now, i),
        key: (event) => treeKeys(event, search, s, now),
      },
    });
  drawn.setAttribute("aria-label", `decision tree of trial ${now.trial}`);
  const lines = sample
    ? sample.decisions.length
      ? "Lines: how probable it is that this sample comes by; the way of hard inference is coloured."
      : "The way of hard inference is coloured; the probabilities of this sample were left out."
    : "Lines: share of the validation samples that come by.";
  const scale = element("span", { class: "scale", role: "img", "aria-label": "from 0 % to 100 %" });
  const dots = ["Dots: how many of the samples of its classes come by, ", "0\u00a0%\u00a0", scale, "\u00a0100\u00a0%. "];
  return [drawn, element("p", { class: "soft" }, `${lines} `, dots, "Click a node to open or close it.")];
}

/** Choose a node; one that has children opens or closes. */
function turnNode(search, s, now, i) {
  const { children } = treeShape(now.tree),
    open = new Set(now.open.get(now.trial));
  if (children[i].length && !open.delete(i)) open.add(i);
  changeTree(search, { node: i, open: new Map(now.open).set(now.trial, open) });
  focusNode(s, i);
}

/** The keys that trees have everywhere: up and down between rows, right opens, left closes or goes to the parent. */
function treeKeys(event, search, s, now) {
  const { children, order } = treeShape(now.tree),
    open = now.open.get(now.trial),
    i = now.node,
    inner = children[i].length > 0;
  const seen = order.filter((n) => wayTo(now.tree, n).every((p) => p === n || open.has(p))),
    at = seen.indexOf(i);
  const to = {
    ArrowDown: seen[at + 1],
    ArrowUp: seen[at - 1],
    Home: seen[0],
    End: seen[seen.length - 1],
    ArrowRight: inner && open.has(i) ? children[i][0] : undefined,
    ArrowLeft: i && !(inner && open.has(i)) ? now.tree.parents[i] : undefined,
  }[event.key];
  const turns =
    event.key === "Enter" ||
    event.key === " " ||
    (event.key === "ArrowRight" && inner && !open.has(i)) ||
    (event.key === "ArrowLeft" && inner && open.has(i));
  if (turns) turnNode(search, s, now, i);
  else if (to !== undefined) {
    changeTree(search, { node: to });
    focusNode(s, to);
    document.activeElement.scrollIntoView({ block: "nearest", inline: "nearest" });
  } else if (!event.key.startsWith("Arrow")) return;
  event.preventDefault();
  event.stopPropagation(); // the arrows of the trial panel are not meant
}

function nodeFacts({ tree, ...now }, i) {
  const { below } = treeShape(tree),
    sample = chosenSample({ tree, ...now }),
    arrives = arriving(tree, sample);
  return facts([
    ["WordNet id", tree.wnids[i]],
    ["classes", number(below[i])],
    ["come by", `${number(tree.visits[i])} (${percent(traversed(tree)[i])} of all)`],
    ["of its own samples", tree.right[i] === null ? null : percent(tree.right[i])],
    ["entropy", tree.entropy[i] === null ? null : `${number(Math.round(tree.entropy[i] * 1e4) / 1e4)} nats`],
    ["this sample", arrives && i ? `${percent(decided(sample, i))} here, arrives with ${percent(arrives[i])}` : null],
  ]);
}

const examplesOf = (now, i) => now.tree.samples.filter((sample) => sample.group === "similar" && sample.node === i);

function hoverNode(event, search, now, i) {
  const pictures = examplesOf(now, i).map((sample) => pictureOf(search, sample, 48));
  showBox(event, element("strong", {}, now.tree.names[i]), nodeFacts(now, i), ...pictures);
}

function aboutNode(search, now) {
  const { tree, node } = now,
    classes = classesOf(tree, node),
    examples = examplesOf(now, node);
  return [
    element("h3", {}, tree.names[node]),
    nodeFacts(now, node),
    classes.length > 1 ? element("p", {}, element("small", {}, shortened(classes.join(", "), 600))) : null,
    examples.length
      ? [
          element("p", { class: "soft" }, "Samples that are most like it:"),
          element(
            "div",
            { class: "samples" },
            examples.map((sample) => sampleButton(search, now, sample, 48)),
          ),
        ]
      : null,
  ];
}
