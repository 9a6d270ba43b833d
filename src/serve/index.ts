// The room's door: a store and a live model by HTTP.
export { requireHost } from "./access.js";
export type { Log } from "./log.js";
export type { ServeOptions } from "./options.js";
export { type Server, serve } from "./serve.js";
