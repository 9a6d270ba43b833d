// Rows of a task's split as requests: the prompt as eval lays it out, the choice among its labels or an answer in words.
import { type BadRow, type Row, streamRows, usedFields } from "../dataset/index.js";
import { requestDefaults } from "../decode/index.js";
import { labelChoices, readPromptParts, stopsOf } from "../evaluate/index.js";
import type { Model } from "../model/index.js";
import { compilePrompt, compileQuestion, promptOf } from "../prompt/index.js";
import type { Answer, LabelsRequest, TextRequest } from "../store/index.js";
import type { Task } from "../task/index.js";
import { encodePrompt } from "../tokens/index.js";
import type { Input, Item } from "./item.js";
import type { BatchOptions } from "./options.js";

/** Opens the rows of a task. Reads its training rows where examples or labels come from them. */
export async function openTaskInput(
  task: Task,
  model: Model,
  options: Pick<BatchOptions, "split" | "shots" | "seed" | "signal">,
): Promise<Input> {
  const { split = "test", shots = 0, seed = 0, signal } = options;
  const whole = async () => {
    const rows: Row[] = [];
    for await (const row of streamRows(task, split, { signal })) rows.push(row);
    return rows;
  };
  const { labels, examples, taken } = await readPromptParts(task, { split, shots, seed, signal }, whole);
  const prompt = compilePrompt(task, model.template);
  const choices = task.kind === "classify" ? labelChoices({ task, labels, prompt, model }) : null;
  const answerTokens = choices ? Math.max(...choices.map(({ tokens }) => tokens.length)) : task.maxTokens;
  const [stop, question, context] = [stopsOf(task), questionOfRow(task), model.info.contextLength];
  const requestOf = (row: Row): TextRequest | LabelsRequest | string => {
    const laid = promptOf(prompt, row, examples);
    if ("reason" in laid) return laid.reason;
    const tokens = encodePrompt(model.tokenizer, laid);
    if (tokens.length + answerTokens > context)
      return `the prompt has ${tokens.length} tokens and the answer up to ${answerTokens}, the model's context ${context}`;
    if (choices) return { kind: "labels", prompt: tokens, labels: choices };
    return {
      ...requestDefaults, // greedy
      kind: "text",
      prompt: tokens,
      maxTokens: task.maxTokens,
      stop,
      grammar: null,
      logProbabilities: null,
    };
  };
  const itemOf = (row: Row): Item => {
    const request = requestOf(row);
    return {
      ...badItem({ file: row.file, line: row.line, reason: "" }),
      request,
      texts: typeof request === "string" ? [] : [question(row)],
      answered: ({ text, probabilities }: Answer) => ({
        index: row.index,
        answer: row.answer === "" ? null : row.answer,
        prediction: text.trim(),
        probabilities,
      }),
    };
  };
  async function* items(): AsyncGenerator<Item> {
    let bad: BadRow[] = [];
    const onBad = (one: BadRow) => bad.push(one);
    for await (const row of streamRows(task, split, { unanswered: true, signal, onBad })) {
      yield* bad.map(badItem);
      bad = [];
      if (!taken.has(row.index)) yield itemOf(row);
    }
    yield* bad.map(badItem);
  }
  let total = 0;
  for await (const _ of streamRows(task, split, { unanswered: true, signal, onBad: () => total++ })) total++;
  return { total: total - taken.size, items };
}

function badItem({ file, line, reason }: BadRow): Item {
  const failed = (why: string) => ({ file, line, reason: why });
  return { file, line, request: reason, texts: [], failed, answered: () => ({}) };
}

/** The text that asks for a row's answer in live traffic: the one field of the template as it is, else the template as it lays the row out. */
function questionOfRow(task: Task): (row: Row) => string {
  const fields = usedFields(task).all;
  const [only] = fields;
  if (fields.length === 1 && only !== "messages") return (row) => String(row.fields[only!]);
  return compileQuestion(task);
}
