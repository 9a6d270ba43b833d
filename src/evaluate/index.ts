// The room's door: what a model says to the rows of a task, and what that is worth.
export { type Against, readPredictions, writePredictions } from "./against.js";
export { isPast } from "./bounds.js";
export { applyCalibration, type CalibrationOptions, fitCalibration } from "./calibrate.js";
export { brierScores, calibrationErrorOf, type ReliabilityBin, reliability } from "./calibration.js";
export { type Choices, scoreChoices } from "./choices.js";
export { chooseLabels, type LabelChoice, labelChoices, numbersOf, priorOf } from "./classify.js";
export { type McNemar, mcnemar, normalQuantile, normalTail } from "./compare.js";
export { type Estimate, endsOf, estimates, orNone, shareOf } from "./estimates.js";
export {
  type EvaluateOptions,
  type Evaluation,
  evaluate,
  evaluateWith,
  type Predictor,
  withPredictor,
} from "./evaluate.js";
export { stopsOf } from "./generate.js";
export { answerByHead, numberText } from "./head.js";
export {
  bootstrapInterval,
  bootstrapIntervals,
  type Interval,
  meanOf,
  type Statistic,
  squareAndAdd,
  tango,
  wilson,
} from "./intervals.js";
export { type Moments, meansDifference, meansTest, momentsOf } from "./means.js";
export {
  accuracy,
  type ClassScore,
  classScores,
  confusionMatrix,
  f1Of,
  logLoss,
  logLosses,
  macroF1,
  matches,
  mean,
  weightedF1,
} from "./metrics.js";
export { holm, pairedDifference, permutationTest } from "./paired.js";
export { type PairTest, testOf, testPair } from "./pairs.js";
export { type RegressionMetrics, regressionMetrics } from "./regression.js";
export { rougeL } from "./rouge.js";
export {
  type GivenPrompt,
  type JobRows,
  readJobRows,
  readPrompt,
  readPromptParts,
  readShots,
  requireOnePrompt,
  shownBefore,
  tooFewExamples,
} from "./rows.js";
export {
  evaluateRows,
  fitRows,
  headless,
  type Label,
  noGoodRow,
  type RowScore,
  type RowScores,
  requireGoodRow,
  requireHead,
  type ScoringJob,
  type ScoringProgress,
} from "./scoring.js";
export { thresholdsOf } from "./sets.js";
export { diverseExamples, fixedShots, Neighbours, type Shots, similarShots } from "./shots.js";
export { type SliceTable, sliceTable } from "./slices.js";
export {
  type Confusion,
  furtherMetrics,
  type Metrics,
  rightRows,
  type Summary,
  statisticsOf,
  summarise,
  textScores,
  withinInterval,
} from "./summary.js";
export { exactMatch, normaliseAnswer, tokenF1 } from "./text.js";
