// How the model answers rows of live traffic that choose among labels, or are answered by a head. Knows no line, no store and no HTTP.
import { answering, type Engine } from "../batch/index.js";
import type { LabelsRequest } from "../store/index.js";
import type { PartWork } from "./turns.js";

/** Rows that are worked on at once: what waits beside them waits so long. */
const rowsAtOnce = 16;

/** @param front - what all prompts begin with, as a batch of the task has it: the same bits */
export function choiceWork(engine: Engine, front: Int32Array): PartWork<LabelsRequest> {
  const never = new AbortController().signal;
  return {
    fits: (taken) => taken.length < rowsAtOnce,
    // A row that fails costs those beside it nothing; nor do failures of one time count at another.
    answer: (rows, tell) =>
      answering(engine, 0, undefined)(rows, front, async (place, outcome) => tell(place, outcome), never),
  };
}
