// The room's door: from a base and an adapter to one checked GGUF, and the cards of what was made.
export { cardFile, writeRunCard } from "./card.js";
export type { MetricChange } from "./drop.js";
export { type ExportResult, exportModel } from "./export.js";
export { type Gate, type GateModels, judge } from "./gate.js";
export { type Mixture, requireSize } from "./mixture.js";
export { type ExportOptions, type ExportProgress, type GateBounds, requireType } from "./options.js";
export { answerBatches } from "./rows.js";
export { quantizedBytes, requireSpace } from "./space.js";
