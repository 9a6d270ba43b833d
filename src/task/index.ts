// Room task: one description of one job, read from a task file and checked.
export { isTaskFile, taskFiles } from "./files.js";
export { editDistance, nearestName } from "./nearest.js";
export {
  requireKnown,
  requireOneOf,
  requirePath,
  requirePort,
  requireReal,
  requireShare,
  requireTask,
  requireWhole,
} from "./options.js";
export { checkTemplate, readTask } from "./read.js";
export { wanted } from "./schema.js";
export { parseTemplate, type TemplateFields, templateFields, templateLimit } from "./template.js";
export {
  type AuditBound,
  type AuditSettings,
  hasLabels,
  hasUnit,
  isDrawn,
  isError,
  isNumber,
  metricsOf,
  type Source,
  type SourceFormat,
  type Split,
  type Task,
  type TaskKind,
  taskKinds,
} from "./types.js";
