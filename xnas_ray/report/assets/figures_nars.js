// Figures of searches by NARS: what its predictor said before the outcomes, and when curves tell their end.

/** Every prediction against its outcome, a colour a round; on the line they would be equal. */
function predictionsMade(search, s) {
  const { trials, rounds, epochs, predicted, stds, observed } = search.nars.predictions,
    ends = [Math.min(...predicted, ...observed), Math.max(...predicted, ...observed)];
  const traces = [
    {
      type: "scatter",
      mode: "lines",
      x: ends,
      y: ends,
      name: "equal",
      hoverinfo: "skip",
      line: { color: colour("--soft"), dash: "dot", width: 1 },
    },
  ];
  [...new Set(rounds)].forEach((round, i) => {
    const own = rounds.map((_, k) => k).filter((k) => rounds[k] === round && search.rows.has(trials[k]));
    const paint = report.palette[i % report.palette.length];
    traces.push({
      type: "scatter",
      mode: "markers",
      x: own.map((k) => predicted[k]),
      y: own.map((k) => observed[k]),
      error_x: { type: "data", array: own.map((k) => stds[k] ?? 0), thickness: 1, width: 0 },
      customdata: own.map((k) => search.rows.get(trials[k])),
      meta: s,
      hoverinfo: "none",
      name: `round ${round}`,
      marker: { color: paint, size: 8, opacity: 0.75 },
    });
  });
  const title = titled(search.objectives[0]),
    read = [...new Set(epochs)].sort((a, b) => a - b);
  return {
    traces,
    layout: layout({
      xaxis: axis(`predicted ${title}`),
      yaxis: axis(`${title} after epoch ${read.join(", ")}`),
    }),
  };
}

/** How the ranking of the first candidates becomes that of their end. */
function rankingByEpoch(search) {
  const { epochs, correlations, threshold, chosen } = search.nars.stopping,
    last = epochs[epochs.length - 1];
  return {
    traces: [
      {
        type: "scatter",
        mode: "lines+markers",
        x: epochs,
        y: correlations,
        name: "rank correlation with the end",
        line: { color: search.colour },
        hovertemplate: "epoch %{x}: %{y:.3f}<extra></extra>",
      },
      {
        type: "scatter",
        mode: "lines",
        x: [epochs[0], last],
        y: [threshold, threshold],
        name: "threshold",
        hoverinfo: "skip",
        line: { color: colour("--soft"), dash: "dash", width: 1 },
      },
      {
        type: "scatter",
        mode: "markers",
        x: [chosen],
        y: [correlations[epochs.indexOf(chosen)]],
        name: chosen < last ? "later candidates stop" : "nobody stops before the end",
        marker: { color: colour("--ink"), size: 11, symbol: "diamond" },
        hovertemplate: "epoch %{x}<extra></extra>",
      },
    ],
    layout: layout({ xaxis: axis("epoch"), yaxis: axis("rank correlation with the end") }),
  };
}
