// Rows that stand in two splits: a test that was learnt by heart measures nothing. Holds a hash for each row, not the row.
import { createHash } from "node:crypto";
import type { Task } from "../task/index.js";
import { usedFields } from "./row.js";
import { type RowOptions, type SplitName, splitNames, streamRows } from "./rows.js";

export interface Place {
  split: SplitName;
  line: number;
}

/**
 * Exact duplicates across splits: rows with the same answer and the same values in every field of the template as a row of an
 * earlier split (train, then validation, then test). Copies inside one split are not reported.
 *
 * @example
 * ```ts
 * for (const { row, of } of await findDuplicates(task)) console.log(`${row.split}:${row.line} = ${of.split}:${of.line}`);
 * ```
 */
export async function findDuplicates(
  task: Task,
  options: Pick<RowOptions, "signal"> = {},
): Promise<{ row: Place; of: Place }[]> {
  const fields = usedFields(task).all;
  const first = new Map<string, Place>();
  const found: { row: Place; of: Place }[] = [];
  for (const split of splitNames) {
    if (task.data[split] === undefined) continue;
    for await (const row of streamRows(task, split, options)) {
      const key = createHash("sha256")
        .update(JSON.stringify([row.value, ...fields.map((field) => row.fields[field] ?? null)]))
        .digest("base64");
      const of = first.get(key);
      if (of === undefined) first.set(key, { split, line: row.line });
      else if (of.split !== split) found.push({ row: { split, line: row.line }, of });
    }
  }
  return found;
}
