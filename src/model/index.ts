// The room's door: from a path or a URI to an open model.
export { type DownloadOptions, type DownloadProgress, isModelUri } from "./download.js";
export { cacheFolder, packageRoot } from "./folders.js";
export { type Inspection, inspect } from "./inspect.js";
export { Model, notTunable, type OpenModelOptions, openModel, requireThreads } from "./open.js";
export { boxedModels, defaultModelUri, resolveDefaultModel, resolveModel } from "./resolve.js";
