// The section of differentiable searches.

function fillSupernets(part) {
  for (const [search, s] of eachSearch((one) => one.supernets)) {
    const { lines, probabilities, strengths, derived, methods } = search.supernets;
    part(`name ${s}`, () => (report.searches.length > 1 ? element("h3", {}, swatch(search), nameOf(search)) : null));
    if (lines.length) {
      const many = new Set(lines.map((line) => line.supernet)).size;
      part(`course ${s}`, () =>
        element(
          "p",
          { class: "soft" },
          many > 1 ? `Epoch by epoch; dashes tell the ${many} supernets apart.` : "The supernet, epoch by epoch.",
        ),
      );
      part.plot(`curves ${s}`, () => supernetCurves(search));
    }
    if (probabilities.length) fillChoices(part, probabilities, s);
    if (strengths.length) fillStrengths(part, strengths, s);
    if (derived.length) fillDerived(part, search, s, derived, methods);
  }
}

/** One of several, as far as there are so many. */
const among = (list, place) => list[Math.min(Number(place) || 0, list.length - 1)];

function fillChoices(part, probabilities, s) {
  const pick = viewOf(
    "supernets",
    "probabilities of",
    "supernet",
    probabilities.map((map, i) => [i, `supernet ${map.supernet}`]),
    Math.min(view.supernet, probabilities.length - 1),
  );
  const words = "A row an option, decision by decision.";
  part(`choices ${s}`, () => element("div", { class: "tools" }, pick, element("span", { class: "soft" }, words)));
  part.plot(`map ${s}`, () => choiceMap(among(probabilities, view.supernet)));
}

function fillStrengths(part, strengths, s) {
  const pick = viewOf(
    "supernets",
    "strengths by",
    "read",
    strengths.map((map, i) => [i, `${map.method}, supernet ${map.supernet}`]),
    Math.min(view.read, strengths.length - 1),
  );
  const words = "How strongly the supernet speaks for each option; frames mark what the architecture has.";
  part(`reading ${s}`, () => element("div", { class: "tools" }, pick, element("span", { class: "soft" }, words)));
  part.plot(`strengths ${s}`, () => strengthMap(among(strengths, view.read)));
}

function fillDerived(part, search, s, derived, methods) {
  const spread = (method, which) => {
    const [mean, std] = [method.means[which], method.stds[which]];
    return std === null ? number(mean) : `${number(mean)} ± ${number(std)}`;
  };
  part(`methods ${s}`, () =>
    methods.length
      ? tableOf(
          ["method", "supernets", ...search.objectives.map((o) => `${titled(o)}, mean ± std`)],
          methods.map((m) => [m.method, m.supernets, ...search.objectives.map((_, i) => spread(m, i))]),
        )
      : null,
  );
  search.objectives.forEach((_, i) => {
    if (methods.length) part.plot(`derived ${s} ${i}`, () => derivedValues(search, s, i));
  });
  part(`architectures ${s}`, () =>
    tableOf(
      ["method", "supernet", "trial", ...search.objectives.map(titled), "architecture"],
      derived
        .slice(0, ROWS)
        .map((d) => [
          d.method,
          d.supernet,
          d.trial === null ? null : trialButton(s, d.trial),
          ...d.values,
          element("code", {}, d.architecture),
        ]),
    ),
  );
}
