// The section that sets all explanations of a search beside each other.

const VERDICTS = { agree: "✓ agree", disagree: "✗ disagree", undecided: "? undecided" };
const LISTED = 6;

function fillJoint(part) {
  for (const [search, s] of eachSearch((one) => one.joint)) {
    part(`name ${s}`, () => (report.searches.length > 1 ? element("h3", {}, swatch(search), nameOf(search)) : null));
    fillFindings(part, search, s);
    fillEffects(part, search, s);
    fillOperations(part, search, s);
    fillWinner(part, search, s);
  }
}

function fillFindings(part, search, s) {
  const { findings } = search.joint;
  if (!findings.length) return;
  const decided = findings.filter((f) => f.verdict !== "undecided").length;
  const words = `${decided} of ${findings.length} questions decided: p < .05 after Holm's correction for all that are tested. Effects and differences are signed so that positive is good, also of what is minimised. What goes together need not cause each other.`;
  const rows = findings.map((f) =>
    element(
      "tr",
      {},
      element("td", { class: `verdict ${f.verdict}` }, VERDICTS[f.verdict]),
      element("td", {}, element("div", {}, f.asked), element("small", {}, f.statement)),
      element("td", { class: "number" }, number(f.value === null ? null : Number(f.value.toPrecision(3)))),
      element("td", { class: "number" }, number(f.n)),
      element("td", { class: "number" }, probability(f.p_adjusted)),
    ),
  );
  const heads = ["", "do the explanations agree?", "statistic", "n", "p, corrected"];
  part(`findings ${s}`, () => [
    element("p", { class: "soft" }, words),
    element(
      "div",
      { class: "wide" },
      element(
        "table",
        { class: "findings" },
        element(
          "tr",
          {},
          heads.map((h) => element("th", {}, h)),
        ),
        rows,
      ),
    ),
  ]);
}

/** Motifs: a scatter of two objectives, and those that are best for each objective. */
function fillEffects(part, search, s) {
  const { objectives, motifs, architectures } = search.joint;
  if (!motifs.length) return;
  const pairs = objectives.flatMap((_, i) => objectives.slice(i + 1).map((__, k) => [i, i + 1 + k]));
  const [i, j] = pairs[Math.min(Number(view.joint) || 0, Math.max(0, pairs.length - 1))] || [0, 0];
  const pick = pairs.length
    ? viewOf(
        "joint",
        "motifs by",
        "joint",
        pairs.map(([a, b], k) => [k, `${objectives[a]} and ${objectives[b]}`]),
        pairs.findIndex(([a, b]) => a === i && b === j),
      )
    : null;
  const words = `${motifs.length} motifs of ${architectures} architectures; bars are posterior standard deviations, larger points are in more architectures.`;
  part(`motif tools ${s}`, () =>
    element("div", { class: "tools" }, pick, element("span", { class: "soft" }, pairs.length ? words : "")),
  );
  if (pairs.length) part.plot(`motif plot ${s}`, () => motifsForTwo(search, i, j));
  const alone = "Effects are what a motif adds according to the model, ± its posterior standard deviation; with − without is the difference of the means, with a 95 % interval for each motif alone: of many motifs some miss 0 by chance.";
  part(`motif table ${s}`, () => [
    ...objectives.map((name, k) => bestMotifs(search, name, k)),
    element("p", { class: "soft" }, alone),
  ]);
}

/** Those that are best for an objective; the first objective's are open. */
function bestMotifs(search, name, k) {
  const { objectives, motifs } = search.joint;
  const best = motifs
    .filter((m) => m.effects[k] !== null && m.effects[k] > 0)
    .sort((a, b) => b.effects[k] - a.effects[k])
    .slice(0, LISTED);
  if (!best.length) return null;
  const table = tableOf(
    ["motif", "in", ...objectives.map((o) => `effect on ${o}`), ...objectives.map((o) => `${o}: with − without`)],
    best.map((m) => [
      ...[m.text, m.support],
      ...objectives.map((_, o) => spread(m.effects[o], m.stds[o])),
      ...objectives.map((_, o) => interval(m, o)),
    ]),
  );
  if (k === 0) return [element("h3", {}, `best motifs for ${name}`), table];
  return element("details", {}, element("summary", {}, `best motifs for ${name}`), table);
}

const probability = (p) => (p === null ? "–" : p < 0.001 ? "< 0.001" : String(Number(p.toPrecision(2))));
const short = (value) => Number(value.toPrecision(3));
const signed = (value) => (value === null ? "–" : `${value < 0 ? "−" : "+"}${number(short(Math.abs(value)))}`);
const spread = (value, std) =>
  value === null ? "–" : `${signed(value)}${std === null ? "" : ` ± ${number(short(std))}`}`;
const interval = (m, o) =>
  m.differences[o] === null ? "–" : `${signed(m.differences[o])} (${signed(m.lows[o])} to ${signed(m.highs[o])})`;

function fillOperations(part, search, s) {
  const { operations, methods, supernet } = search.joint;
  if (!operations.length) return;
  const from = methods.length
    ? ` The standing of an operation among the others, from 0 to 1, is of the supernet of ${supernet[1] || "search"} ${supernet[0]}.`
    : " No search of this store has a supernet over this space and task.";
  const words = `Operations by source, for ${search.objectives[0].name}: the mean of their main effects over choices, the effect of the motif that is the operation alone.${from}`;
  part(`operations ${s}`, () => [element("h3", {}, "operations"), element("p", { class: "soft" }, words)]);
  part.plot(`operations plot ${s}`, () => operationsBySource(search));
}

function fillWinner(part, search, s) {
  const { winner, layers, decisions } = search.joint;
  if (winner === null || !(layers.length || decisions.length)) return;
  const trees = SECTIONS.find((one) => one.id === "trees");
  const tree = trees && trees.has() && !report.only ? element("a", { href: "#trees" }, "its whole tree") : null;
  part(`winner ${s}`, () => [
    element("h3", {}, "the winner, ", trialButton(s, winner)),
    layers.length
      ? [
          element("p", { class: "soft" }, "Layers that tell the classes apart most, and their share of all activations:"),
          tableOf(
            ["layer", "introspectability", "share"],
            layers.map((l) => [l.layer, l.score, `${Math.round(l.share * 1000) / 10} %`]),
          ),
        ]
      : null,
    decisions.length
      ? [
          element(
            "p",
            { class: "soft" },
            "What its tree decides, from the root down, and the share of the samples of its classes that come by; ",
            tree || "each trial's panel has more",
            ".",
          ),
          tableOf(
            ["decision", "classes", "samples", "right"],
            decisions.map((d) => [
              `${"· ".repeat(d.depth)}${d.name}`,
              d.classes,
              d.visits,
              d.right === null ? "–" : `${Math.round(d.right * 1000) / 10} %`,
            ]),
          ),
        ]
      : null,
  ]);
}
