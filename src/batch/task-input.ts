// Rows of a task's split as requests: the prompt as eval lays it out, the choice among its labels or an answer in words.
import { type BadRow, type Row, streamRows } from "../dataset/index.js";
import { requestDefaults } from "../decode/index.js";
import {
  labelChoices,
  numbersOf,
  priorOf,
  readPrompt,
  readPromptParts,
  requireHead,
  shownBefore,
  stopsOf,
} from "../evaluate/index.js";
import { compilePrompt, compileSubject, type Prompt, promptOf } from "../prompt/index.js";
import type { Answer, LabelsRequest, TextRequest } from "../store/index.js";
import type { Task } from "../task/index.js";
import { encodePrompt } from "../tokens/index.js";
import type { Engine } from "./engine.js";
import { type Input, type Item, laidText, once, orReason } from "./item.js";
import type { BatchOptions } from "./options.js";

/** Rows whose examples are looked for together. */
const together = 64;

type TaskEngine = Pick<Engine, "model" | "lora" | "head" | "calibration">;
type TaskOptions = Pick<BatchOptions, "split" | "shots" | "prompt" | "seed" | "signal">;

/** What makes requests of a task's rows, wherever they come from. */
export interface TaskRows {
  /** With what a prompt file says of it. */
  task: Task;
  /** Rows of the split that are examples of the prompt. */
  taken: ReadonlySet<number>;
  itemsOf(rows: readonly (Row | BadRow)[]): AsyncGenerator<Item>;
}

/** Reads a task's training rows where examples or labels come from them. */
export async function openTaskRows(
  given: Task,
  { model, lora, head, calibration }: TaskEngine,
  options: TaskOptions,
): Promise<TaskRows> {
  const { split = "test", seed = 0, signal } = options;
  const { task, prompt: file } = await readPrompt(given, options.prompt);
  const whole = async () => {
    const rows: Row[] = [];
    for await (const row of streamRows(task, split, { signal })) rows.push(row);
    return rows;
  };
  const reading = { split, shots: options.shots ?? 0, seed, signal, prompt: file, model };
  const { labels, shots, taken } = await readPromptParts(task, reading, whole);
  const prompt = compilePrompt(task, model.template);
  requireHead(head, { task, labels });
  const choices = head ? [] : task.kind === "generate" ? null : labelChoices({ task, labels, prompt, model });
  const values = head ? undefined : numbersOf({ task, labels });
  const { examples, calibrateBehind } = await shownBefore(shots, file?.content);
  const prior = choices && !head ? await priorOf({ task, model, lora, prompt, calibrateBehind }, choices) : undefined;
  const answerTokens = choices ? Math.max(0, ...choices.map(({ tokens }) => tokens.length)) : task.maxTokens;
  const [stop, question, context] = [stopsOf(task), compileSubject(task), model.info.contextLength];
  const settings = choices
    ? { kind: "labels" as const, labels: choices, prior, values, calibration: calibration ?? undefined }
    : {
        ...requestDefaults, // greedy
        kind: "text" as const,
        maxTokens: task.maxTokens,
        stop,
        grammar: null,
        logProbabilities: null,
      };
  const requestOf = (laid: Prompt): TextRequest | LabelsRequest | string => {
    const tokens = orReason(() => encodePrompt(model.tokenizer, laid));
    if (typeof tokens === "string") return tokens;
    if (tokens.length + answerTokens > context)
      return `the prompt has ${tokens.length} tokens and the answer up to ${answerTokens}, the model's context ${context}`;
    return { ...settings, prompt: tokens };
  };
  const itemOf = (row: Row): Item => {
    const laid = promptOf(prompt, row, examples);
    if ("reason" in laid) return badItem(laid);
    const text = laidText(laid);
    return {
      ...badItem({ file: row.file, line: row.line, reason: "" }),
      laid: { ...settings, laid: text },
      request: once(() => requestOf(laid)),
      size: text.length,
      texts: [question(row)],
      answered: ({ text, probabilities, interval }: Answer) => ({
        index: row.index,
        answer: row.answer === "" ? null : row.answer,
        prediction: text.trim(),
        probabilities,
        ...(interval && { interval }),
      }),
    };
  };
  async function* itemsOf(rows: readonly (Row | BadRow)[]): AsyncGenerator<Item> {
    await shots.prepare(rows.filter((row) => "fields" in row));
    for (const row of rows) yield "fields" in row ? itemOf(row) : badItem(row);
  }
  return { task, taken, itemsOf };
}

/** Opens the rows of a task's split. */
export async function openTaskInput(given: Task, engine: TaskEngine, options: TaskOptions): Promise<Input> {
  const { split = "test", signal } = options;
  const { task, taken, itemsOf } = await openTaskRows(given, engine, options);
  async function* items(): AsyncGenerator<Item> {
    let bad: BadRow[] = [];
    const onBad = (one: BadRow) => bad.push(one);
    let waiting: (Row | BadRow)[] = [];
    for await (const row of streamRows(task, split, { unanswered: true, signal, onBad })) {
      waiting.push(...bad);
      bad = [];
      if (!taken.has(row.index)) waiting.push(row);
      if (waiting.length < together) continue;
      yield* itemsOf(waiting);
      waiting = [];
    }
    yield* itemsOf([...waiting, ...bad]);
  }
  let total = 0;
  for await (const _ of streamRows(task, split, { unanswered: true, signal, onBad: () => total++ })) total++;
  return { total: total - taken.size, items };
}

function badItem({ file, line, reason }: BadRow): Item {
  const failed = (why: string) => ({ file, line, reason: why });
  return { file, line, request: () => reason, size: reason.length, texts: [], failed, answered: () => ({}) };
}
