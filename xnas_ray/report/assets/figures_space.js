// The front in three dimensions, for searches with three objectives or more.

/** The front and what it dominates over three metrics; the pointer turns it. */
function frontInSpace(names) {
  const traces = [];
  report.searches.forEach((search, s) => {
    if (!search.front || !names.every((name) => column(search, name))) return;
    const best = new Set(search.front),
      values = names.map((name) => column(search, name));
    const rows = search.trials.trial
      .map((_, row) => row)
      .filter((row) => search.trials.measured[row] && values.every((of) => of[row] !== null));
    for (const [what, wanted, opacity, size, symbol] of [
      ["dominated", false, 0.5, 3, "circle"],
      ["front", true, 1, 5, "diamond"],
    ]) {
      const members = rows.filter((row) => best.has(search.trials.trial[row]) === wanted),
        [x, y, z] = values.map((of) => members.map((row) => of[row]));
      traces.push({
        type: "scatter3d",
        mode: "markers",
        ...{ x, y, z },
        customdata: members,
        meta: s,
        hoverinfo: "none",
        marker: { color: search.colour, opacity, size, symbol, line: { width: 0 } },
        projection: { z: { show: wanted, opacity: 0.3, scale: 0.6 } }, // a shadow on the floor tells how far away it is
        name: label(`${nameOf(search)}: ${what}`),
      });
    }
  });
  const [xaxis, yaxis, zaxis] = names.map((name) => ({
    title: { text: label(name, 24) },
    gridcolor: colour("--line"),
    zerolinecolor: colour("--line"),
    color: colour("--ink"),
    showbackground: false,
    showspikes: false,
  }));
  const scene = { xaxis, yaxis, zaxis, hovermode: false, camera: { eye: { x: 1.5, y: -1.5, z: 0.7 } } };
  return { traces, layout: layout({ height: 460, margin: { l: 0, r: 0, t: 40, b: 0 }, scene, showlegend: false }) };
}
