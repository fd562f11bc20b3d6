// Figures: from the columns of the report to what plotly draws.

const MANY = 3000; // points from which a plot is drawn by WebGL
const KEPT = "kept"; // whatever is drawn again keeps its zoom
const webgl = Boolean(document.createElement("canvas").getContext("webgl"));

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function axis(title, more = {}) {
  const [line, soft] = [colour("--line"), colour("--soft")];
  return {
    title: { text: label(title), standoff: 8 },
    gridcolor: line,
    zerolinecolor: line,
    linecolor: soft,
    automargin: true,
    uirevision: title,
    ...more,
  };
}

function layout(more = {}) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 12 },
    margin: { l: 60, r: 20, t: 28, b: 48 },
    hovermode: "closest",
    uirevision: KEPT,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--accent") },
    height: 340,
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    ...more,
  };
}

function scatter(points, more) {
  return { type: points > MANY && webgl ? "scattergl" : "scatter", ...more };
}

/** How a search is called where several are: by as much of its id as is needed, where names are alike. */
function nameOf(search) {
  const others = report.searches.filter((other) => other !== search);
  if (search.name && others.every((other) => other.name !== search.name)) return search.name;
  let length = 10;
  while (length < search.id.length && others.some((other) => other.id.startsWith(search.id.slice(0, length)))) length++;
  return `${search.name} ${search.id.slice(0, length)}`.trim();
}

function titled(objective) {
  return objective.unit ? `${objective.name} [${objective.unit}]` : objective.name;
}

/** Values of a column of trials: a metric, or how long they took. */
function column(search, name) {
  return name === "duration_s" ? search.trials.duration_s : search.metrics[name];
}

/** Where trials stand on the horizontal axis: their place in the order of outcomes, or what was spent until then. */
function reached(search, over) {
  return over === "hours" ? search.progress.hours : search.trials.trial.map((_, row) => row + 1);
}

function overTitle(over) {
  if (over === "trials") return "trials that ended";
  return [...new Set(report.searches.map((s) => s.progress.unit))].join(" or ");
}

/** A staircase that goes on to the end of its search. */
function stairs(search, steps, over) {
  const xs = reached(search, over),
    x = steps.rows.map((row) => xs[row]),
    y = [...steps.values];
  if (x.length) {
    x.push(xs[xs.length - 1]);
    y.push(y[y.length - 1]);
  }
  return { x, y };
}

/** The best values of an objective so far, before the values of all trials. */
function bestSoFar(name, over) {
  const traces = [],
    seen = [];
  let objective;
  report.searches.forEach((search, s) => {
    const found = search.objectives.find((o) => o.name === name);
    if (!found || !search.progress.best[name].rows.length) return;
    objective = found;
    const values = search.metrics[name],
      xs = reached(search, over);
    const rows = search.trials.trial.map((_, row) => row).filter((row) => search.trials.measured[row]);
    seen.push(...rows.map((row) => values[row]));
    traces.push(
      scatter(rows.length, {
        mode: "markers",
        x: rows.map((r) => xs[r]),
        y: rows.map((r) => values[r]),
        customdata: rows,
        meta: s,
        marker: { color: search.colour, size: 5, opacity: 0.35 },
        name: label(nameOf(search)),
        showlegend: false,
        hoverinfo: "none",
      }),
    );
    traces.push({
      type: "scatter",
      mode: "lines",
      ...stairs(search, search.progress.best[name], over),
      line: { shape: "hv", color: search.colour, width: 2 },
      name: label(nameOf(search)),
      showlegend: report.searches.length > 1,
      hovertemplate: "%{y:.6g}<extra></extra>",
    });
  });
  if (!objective) return null;
  return {
    traces,
    layout: layout({
      xaxis: axis(overTitle(over)),
      yaxis: axis(titled(objective), { range: interesting(seen, objective.maximize) }),
    }),
  };
}

/** A range without the worst twentieth: networks that learn nothing would flatten everything else. */
function interesting(values, maximize) {
  const sorted = [...values].sort((a, b) => a - b),
    n = sorted.length;
  if (n < 20) return undefined;
  const low = sorted[maximize ? Math.floor(n * 0.05) : 0],
    high = sorted[maximize ? n - 1 : Math.ceil(n * 0.95) - 1];
  const margin = (high - low) * 0.06;
  return high > low ? [low - margin, high + margin] : undefined;
}

function hypervolume(over) {
  const traces = report.searches
    .filter((search) => search.progress.hypervolume)
    .map((search) => ({
      type: "scatter",
      mode: "lines",
      ...stairs(search, search.progress.hypervolume, over),
      line: { shape: "hv", color: search.colour, width: 2 },
      name: label(nameOf(search)),
      showlegend: report.searches.length > 1,
      hovertemplate: "%{y:.4f}<extra></extra>",
    }));
  return { traces, layout: layout({ xaxis: axis(overTitle(over)), yaxis: axis("hypervolume, share of the box") }) };
}

/** The front and what it dominates; the line of the front stands where the axes are the two objectives. */
function front(x, y) {
  const traces = [];
  report.searches.forEach((search, s) => {
    if (!search.front || !column(search, x) || !column(search, y)) return;
    const best = new Set(search.front),
      [xs, ys] = [column(search, x), column(search, y)];
    const rows = search.trials.trial
      .map((_, row) => row)
      .filter((row) => search.trials.measured[row] && xs[row] !== null && ys[row] !== null);
    const groups = [
      [rows.filter((r) => !best.has(search.trials.trial[r])), "dominated", 0.3, 6, "circle"],
      [rows.filter((r) => best.has(search.trials.trial[r])), "front", 1, 10, "diamond"],
    ];
    for (const [members, what, opacity, size, symbol] of groups) {
      traces.push(
        scatter(rows.length, {
          mode: "markers",
          x: members.map((r) => xs[r]),
          y: members.map((r) => ys[r]),
          customdata: members,
          meta: s,
          hoverinfo: "none",
          marker: {
            color: search.colour,
            opacity,
            size,
            symbol,
            line: { width: what === "front" ? 1 : 0, color: colour("--ground") },
          },
          name: label(`${nameOf(search)}: ${what}`),
        }),
      );
    }
    const others = search.trials.trial
      .map((_, row) => row)
      .filter((row) => !search.trials.measured[row] && xs[row] !== null && ys[row] !== null);
    if (others.length) {
      traces.push(
        scatter(rows.length, {
          mode: "markers",
          x: others.map((r) => xs[r]),
          y: others.map((r) => ys[r]),
          customdata: others,
          meta: s,
          hoverinfo: "none",
          marker: { color: search.colour, opacity: 0.4, size: 6, symbol: "x-thin-open" },
          name: label(`${nameOf(search)}: breaks a constraint`),
          visible: "legendonly",
        }),
      );
    }
    const aims = search.objectives.map((o) => o.name);
    if (aims.length === 2 && aims.includes(x) && aims.includes(y) && x !== y) {
      const better = search.objectives.find((o) => o.name === x).maximize;
      const corners = groups[1][0].map((r) => [xs[r], ys[r]]).sort((a, b) => a[0] - b[0]);
      traces.push({
        type: "scatter",
        mode: "lines",
        x: corners.map((c) => c[0]),
        y: corners.map((c) => c[1]),
        hoverinfo: "skip",
        showlegend: false,
        line: { color: search.colour, width: 1.5, dash: "dot", shape: better ? "vh" : "hv" },
      });
    }
  });
  return { traces, layout: layout({ height: 460, xaxis: axis(x), yaxis: axis(y) }) };
}
