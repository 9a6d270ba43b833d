// The room's door: pages that people look at.
export { reportAudit } from "./audit-report.js";
export type { Axis } from "./axis.js";
export { reportCompare } from "./compare-report.js";
export { reportEvaluation } from "./evaluation-report.js";
export { widths } from "./frame.js";
export { type IntervalChart, type IntervalRow, intervalChart } from "./interval-chart.js";
export { reportLadder } from "./ladder-report.js";
export { type LineChart, lineChart, type Point, type Series } from "./line-chart.js";
export { type Cell, type Page, pageOf, type Section, type Table } from "./page.js";
export { requirePlace } from "./place.js";
export { reportRun } from "./run-report.js";
export { type Watch, type WatchOptions, watch } from "./watch.js";
