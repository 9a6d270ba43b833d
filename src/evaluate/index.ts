// The room's door: statistics of predictions.
export { type McNemar, mcnemar } from "./compare.js";
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
export { exactMatch, normaliseAnswer, tokenF1 } from "./text.js";
