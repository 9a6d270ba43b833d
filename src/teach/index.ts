// The room's door: what a teacher says about rows, and the cache that keeps it.
export { TeacherCache, type TeachRows } from "./cache.js";
export { blockRows, decodeEntry, type TeachingFacts } from "./format.js";
export { defaultTopK, hashTemplate, hashTokenizer, Teacher, type TeacherOptions } from "./teacher.js";
export { TokenMap } from "./token-map.js";
