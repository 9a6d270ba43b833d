// The table at the end of a distillation: teacher, student and quantised student on the same held-out rows.
import { stat } from "node:fs/promises";
import path from "node:path";
import { loadAdapter } from "../adapter/index.js";
import {
  endsOf,
  estimates,
  evaluateRows,
  type GivenPrompt,
  type Metrics,
  type RowScore,
  readJobRows,
  readShots,
  shareOf,
  summarise,
} from "../evaluate/index.js";
import { type OpenModelOptions, openModel } from "../model/index.js";
import { compilePrompt } from "../prompt/index.js";
import { watchMemory } from "../support/memory.js";
import type { Task } from "../task/index.js";

/** A line of the table. */
export interface ComparedModel {
  name: "teacher" | "student" | "quantized";
  /** The GGUF, and the adapter that it was run with. */
  model: string;
  adapter: string | null;
  parameters: number;
  /** Of the model's file, and the adapter's. */
  bytes: number;
  rows_per_second: number;
  /** What the process grew by at most while it was open and answered, its mapped file included, after what earlier work had left was given back; null where the system does not tell. */
  memory_bytes: number | null;
  metrics: Metrics;
  /** Share of the rows to which it says what the teacher says; null without the teacher in the table. */
  agreement: number | null;
  /** 95 % interval of that share; null for the teacher itself, of which nothing is left to chance, and without one. */
  agreement_interval: [low: number, high: number] | null;
}

/** Who is compared. */
export interface Contender {
  name: ComparedModel["name"];
  model: string;
  adapter: string | null;
}

/** Scores the contenders on the test rows, or the validation rows where there are none; an empty table without either. */
export async function compareModels(
  task: Task,
  contenders: readonly Contender[],
  options: {
    limit: number;
    seed: number;
    opening: OpenModelOptions;
    prompt: GivenPrompt;
    tokenBudget: number | undefined;
  },
): Promise<ComparedModel[]> {
  const split = task.data.test ? "test" : "validation";
  if (!task.data[split]) return [];
  const { limit, seed, opening, prompt: asked, tokenBudget } = options;
  const { rows, labels } = await readJobRows(task, { split, shots: 0, seed, limit, signal: opening.signal });
  const answered: { line: Omit<ComparedModel, keyof Agreement>; scores: readonly RowScore[] }[] = [];
  for (const { name, model: file, adapter } of contenders) {
    const memory = await watchMemory();
    const model = await openModel(file, opening);
    try {
      const lora = adapter === null ? null : await loadAdapter(model.native, adapter);
      const prompt = compilePrompt(task, model.template);
      const shown = await readShots(task, rows, { prompt: asked, model, signal: opening.signal });
      const job = { model, lora, task, rows, prompt, ...shown, labels, signal: opening.signal, tokenBudget };
      const { rows: scores, seconds } = await evaluateRows(job);
      const line = {
        ...{ name, model: model.info.path, adapter },
        parameters: model.info.parameters,
        bytes: model.info.fileBytes + (adapter === null ? 0 : await adapterBytes(adapter)),
        rows_per_second: scores.length / seconds,
        memory_bytes: memory(),
        metrics: summarise(task, scores, labels, seed).metrics,
      };
      answered.push({ line, scores });
    } finally {
      await model.close();
    }
  }
  const teacher = answered.find(({ line }) => line.name === "teacher");
  return answered.map(({ line, scores }) => ({ ...line, ...agreementOf(scores, teacher?.scores ?? null, seed) }));
}

type Agreement = Pick<ComparedModel, "agreement" | "agreement_interval">;

/** teacher: what it said to the same rows; null without it in the table. */
function agreementOf(scores: readonly RowScore[], teacher: readonly RowScore[] | null, seed: number): Agreement {
  if (teacher === null) return { agreement: null, agreement_interval: null };
  if (teacher === scores) return { agreement: 1, agreement_interval: null };
  const said = new Map(teacher.map(({ index, prediction }) => [index, prediction]));
  const alike = scores.map(({ index, prediction }) => Number(said.get(index) === prediction));
  const { agreement } = estimates(alike.length, { agreement: shareOf(alike) }, seed);
  return { agreement: agreement.value, agreement_interval: endsOf(agreement) };
}

/** Size of an adapter: of its file, or of the one that a RUN folder or a PEFT folder holds; 0 where it holds none. */
export async function adapterBytes(adapter: string): Promise<number> {
  const found = await stat(adapter);
  if (found.isFile()) return found.size;
  const sizeOf = async (name: string) => {
    return stat(path.join(adapter, name)).then(
      ({ size }) => size,
      () => 0,
    );
  };
  const adapted = (await sizeOf("adapter.gguf")) || (await sizeOf("adapter_model.safetensors"));
  return adapted + (await sizeOf("head.safetensors"));
}
