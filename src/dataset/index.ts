// Room dataset: the rows of a task's files, good and bad, streamed, and split by a seed.
export { readCsv } from "./csv.js";
export { findDuplicates, type Place } from "./duplicates.js";
export { readJsonl } from "./jsonl.js";
export { labelsIn, labelsOfSet, setText } from "./label-set.js";
export { readLines } from "./lines.js";
export { defaultMaxBytes, fieldsOf } from "./records.js";
export {
  answerOf,
  type BadRow,
  badRowError,
  badRowText,
  placeOf,
  type Row,
  type RowMaker,
  rowMaker,
  usedFields,
} from "./row.js";
export { type Dataset, labelsOf, type RowOptions, readRows, type SplitName, splitNames, streamRows } from "./rows.js";
export { sampleRows } from "./sample.js";
export { type Conversation, recognise, type Turn } from "./shapes.js";
export { type PlainText, readTexts, streamTexts } from "./texts.js";
