/* How the search ranks its results: a page or section whose title is what was asked for comes first. */
var Scorer = {
  score: (result) => {
    const [, , , , score, , kind] = result;
    return kind === "title" ? 4 * score : score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
