// The section of searches by NARS.

function fillNars(part) {
  for (const [search, s] of eachSearch((one) => one.nars)) {
    const { rounds, predictions, stopping } = search.nars;
    part(`name ${s}`, () => (report.searches.length > 1 ? element("h3", {}, swatch(search), nameOf(search)) : null));
    part(`rounds ${s}`, () =>
      tableOf(
        [
          ...["round", "stage", "knew", "epochs", "completed", "failed", "best of it", titled(search.objectives[0])],
          ...["rank correlation of predictions", "their mean error"],
        ],
        rounds.map((r) => [
          ...[r.number, r.stage, r.told, r.epochs, r.completed, r.failed],
          ...[r.trial === null ? null : trialButton(s, r.trial), r.best, r.spearman, r.error],
        ]),
      ),
    );
    if (predictions) {
      const known = predictions.spearman === null ? "" : ` Rank correlation of all: ${number(predictions.spearman)}.`;
      const words = `${predictions.trials.length} trials, each predicted before it ran; bars are standard deviations.`;
      part(`words ${s}`, () => element("p", { class: "soft" }, words + known));
      part.plot(`predictions ${s}`, () => predictionsMade(search, s));
    }
    if (stopping) {
      const words = `The ranking of the first ${stopping.curves} whole curves, epoch by epoch.`;
      part(`ranking ${s}`, () => element("p", { class: "soft" }, words));
      part.plot(`stopping ${s}`, () => rankingByEpoch(search));
    }
  }
}
