// POST /v1/predict: rows of the server's task, answered as eval and batch answer them: prompt file, head, calibration and abstention included. Knows no store and no
// model's work.
import type { IncomingMessage, ServerResponse } from "node:http";
import { type Engine, frontOfFirst, frontRows, type Item, openTaskRows, type TaskRows } from "../batch/index.js";
import { fieldsOf, type Row, type RowMaker, rowMaker, type SplitName, streamRows } from "../dataset/index.js";
import { type LabelsRequest, type TextRequest, told } from "../store/index.js";
import { StillroomError } from "../support/errors.js";
import type { Answers, Wish } from "./answers.js";
import { ApiError } from "./errors.js";
import { leavingOf, readObject, sendJson } from "./http.js";
import type { Log } from "./log.js";
import type { ServeOptions } from "./options.js";

/** A task that is open for rows of live traffic. */
export interface Served {
  rows: TaskRows;
  make: RowMaker;
  /** What the prompts of its split begin with, as batch has it. */
  front: Int32Array;
}

const mostRows = 1000;

/** Reads the rows of the split that batch would answer, for what their prompts share. */
export async function openServed(
  engine: Engine,
  given: NonNullable<ServeOptions["task"]>,
  { prompt, shots, seed }: Pick<ServeOptions, "prompt" | "shots" | "seed">,
): Promise<Served> {
  const split = (["test", "validation", "train"] satisfies SplitName[]).find((name) => given.data[name] !== undefined);
  if (split === undefined) throw new StillroomError("input", `${given.file}: the task has no data`);
  const options = { prompt, shots, seed, split };
  const rows = await openTaskRows(given, engine, options);
  const first: Row[] = [];
  for await (const row of streamRows(rows.task, split, { unanswered: true, limit: frontRows }))
    if (!rows.taken.has(row.index)) first.push(row);
  const items: Item[] = [];
  for await (const item of rows.itemsOf(first)) items.push(item);
  const front = frontOfFirst(items);
  const make = rowMaker(rows.task, { path: "the request", format: "jsonl", columns: {} }, [], true);
  return { rows, make, front };
}

export function predictHandler({ rows, make }: Served, answers: Answers, limit: number, log: Log, logPrompts: boolean) {
  const wishOf = async (
    given: readonly unknown[],
    param: "row" | "rows",
  ): Promise<Wish<LabelsRequest | TextRequest>[]> => {
    const made = given.map((one, index) => {
      // As of a line of a file.
      const fields = fieldsOf(one);
      const row = typeof fields === "string" ? fields : make(fields);
      if (typeof row === "string") throw badRow(param, index, row);
      return { index, file: "the request", line: index + 1, ...row };
    });
    const wishes: Wish<LabelsRequest | TextRequest>[] = [];
    for await (const item of rows.itemsOf(made)) {
      const request = item.request();
      if (typeof request === "string") throw badRow(param, wishes.length, request);
      if (request.kind === "embedding") throw new StillroomError("internal", "a row of a task asks for no vector");
      wishes.push({ request, texts: item.texts });
    }
    return wishes;
  };
  return async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const { row, rows: several, ...rest } = await readObject(incoming, limit);
    const [unknown] = Object.keys(rest);
    if (unknown !== undefined)
      throw new ApiError(400, `unknown field ${unknown.slice(0, 80)}`, { param: unknown.slice(0, 80) });
    const given = row !== undefined && several === undefined ? [row] : row === undefined ? several : null;
    if (!Array.isArray(given) || given.length > mostRows)
      throw new ApiError(400, `expected a row's fields for row, or up to ${mostRows} of them for rows`, {
        param: "row",
        code: "invalid_value",
      });
    const wishes = await wishOf(given, row === undefined ? "rows" : "row");
    if (logPrompts) log.info({ prompt: wishes.flatMap(({ texts }) => texts) }, "asked");
    const leaving = leavingOf(outgoing);
    // All rows of a task are of one kind.
    const isChoice = wishes[0]?.request.kind === "labels";
    const { from, answers: found } = isChoice
      ? await answers.choose(wishes as Wish<LabelsRequest>[], leaving)
      : await answers.write(wishes as Wish<TextRequest>[], leaving);
    const shown = found.map((answer) => told(answer, answers.engine.maker));
    sendJson(outgoing, row === undefined ? { answers: shown } : shown[0], { "x-stillroom-cache": from });
  };
}

const badRow = (param: "row" | "rows", index: number, reason: string) =>
  new ApiError(400, `${param === "row" ? param : `rows[${index}]`}: ${reason}`, { param, code: "invalid_value" });
