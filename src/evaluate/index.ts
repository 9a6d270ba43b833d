// The room's door: what a model says to the rows of a task, and what that is worth.
export { type Against, readPredictions, writePredictions } from "./against.js";
export { type Choices, scoreChoices } from "./choices.js";
export { chooseLabels, type LabelChoice, labelChoices } from "./classify.js";
export { type McNemar, mcnemar } from "./compare.js";
export { type EvaluateOptions, type Evaluation, evaluate } from "./evaluate.js";
export { stopsOf } from "./generate.js";
export { bootstrapInterval, type Interval, meanOf, wilson } from "./intervals.js";
export {
  accuracy,
  type ClassScore,
  classScores,
  confusionMatrix,
  logLoss,
  logLosses,
  macroF1,
  macroF1Of,
  matches,
  mean,
} from "./metrics.js";
export { type JobRows, readJobRows, readPromptParts } from "./rows.js";
export {
  evaluateRows,
  type Label,
  type RowScore,
  type RowScores,
  type ScoringJob,
  type ScoringProgress,
} from "./scoring.js";
export { type Confusion, type Metrics, type Summary, summarise } from "./summary.js";
export { exactMatch, normaliseAnswer, tokenF1 } from "./text.js";
