// A teacher that is open: its model, its adapter, who runs it, and the facts that a cache of its answers is known by.
import { createHash } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { hashLora, loadAdapter } from "../adapter/index.js";
import { type DownloadProgress, type Model, openModel } from "../model/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import { hashFile } from "../support/files.js";
import {
  type NativeBatch,
  type NativeLora,
  type NativePrecision,
  type NativeRunner,
  type NativeTaught,
  type NativeTeaching,
  type NativeTokenizer,
  native,
} from "../support/native.js";
import type { Task } from "../task/index.js";
import type { TeachingFacts } from "./format.js";

/** Which teacher, what it is asked, and how it is opened. */
export interface TeacherOptions extends NativeTeaching {
  /** Path of a GGUF, or an hf: URI. */
  teacher: string;
  /** A RUN folder, a PEFT folder or a GGUF LoRA; for a model that only llama.cpp opens, a GGUF LoRA. */
  adapter: string | null;
  precision: NativePrecision;
  threads?: number | undefined;
  variant?: string | undefined;
  onDownload?: ((progress: DownloadProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** Tokens of a position that are kept where nobody asks for another number; of a smaller vocabulary all. */
export const defaultTopK = 64;

/** Paths that llama.cpp holds at once. */
const sequences = 16;

/** An open teacher. Close it when it is not needed any more. */
export class Teacher {
  #runner: NativeRunner | null = null;

  private constructor(
    readonly model: Model,
    readonly lora: NativeLora | null,
    /** Hashes of the model's file and of the adapter. */
    readonly hashes: { teacher: string; adapter: string | null },
    readonly options: TeacherOptions,
  ) {}

  /** Throws what openModel and loadAdapter throw, and "usage" for more entries than the teacher has tokens, and for a precision where llama.cpp runs it. */
  static async open(options: TeacherOptions): Promise<Teacher> {
    const { teacher, adapter, topK } = options;
    const model = await openModel(teacher, options);
    try {
      const { vocabulary, path } = model.info;
      if (!model.tunable && options.precision !== "f32") {
        const message = `${path} is run by llama.cpp, which has products of its own: leave teacherPrecision out`;
        throw new StillroomError("usage", message, { options: ["teacherPrecision"] });
      }
      if (topK > Math.max(vocabulary, defaultTopK))
        throw unexpected(`at most the teacher's ${vocabulary} tokens`, "topK", topK);
      const lora = adapter !== null && model.tunable ? await loadAdapter(model.native, adapter) : null;
      const hashed = lora ? hashLora(lora) : null;
      const hashes = {
        teacher: await hashFile(model.info.path),
        adapter: hashed ? `${hashed.sha256} x ${hashed.scale}` : adapter && (await hashFile(ggufLora(adapter, model))),
      };
      return new Teacher(model, lora, hashes, options);
    } catch (error) {
      await model.close();
      throw error;
    }
  }

  /** What decides its answers to rows of a task, and to texts. */
  facts(task: Task, { rows, texts }: Pick<TeachingFacts, "rows" | "texts">): TeachingFacts {
    const { topK, temperature, tail, precision } = this.options;
    const own = this.model.tunable;
    return {
      ...this.hashes,
      tokenizer: hashTokenizer(this.model.tokenizer),
      template: hashTemplate(task, this.model),
      ...{ rows, texts },
      top_k: topK,
      ...{ tail, temperature },
      precision: own ? precision : "llama.cpp",
      engine: own ? "stillroom" : "llama.cpp",
      hidden_width: this.model.info.width,
    };
  }

  /** What it says at each query. longest: tokens of the longest row of all batches; hidden: whether with its states. */
  async teach(batch: NativeBatch, longest: number, hidden = this.options.hidden ?? false): Promise<NativeTaught> {
    const asked = { ...this.options, hidden };
    if (this.model.tunable) return this.model.native.teach(batch, this.lora, asked);
    this.#runner ??= await native().openRunner(this.model.info.path, {
      ...{ threads: this.model.threads, adapter: this.options.adapter },
      ...{ contextTokens: longest, sequences },
    });
    return this.#runner.teach(batch, asked);
  }

  async close(): Promise<void> {
    await this.#runner?.close();
    await this.model.close();
  }
}

/** Throws "input" for an adapter that llama.cpp cannot read. */
function ggufLora(adapter: string, { info }: Model): string {
  if (existsSync(adapter) && statSync(adapter).isFile()) return adapter;
  throw new StillroomError(
    "input",
    `${info.path} is run by llama.cpp: expected a GGUF LoRA for teacherAdapter, received ${adapter}`,
    { options: ["teacherAdapter"] },
  );
}

const hashed = new WeakMap<NativeTokenizer, string>();

/** SHA-256 over the texts of all tokens, and which of them begin and end. */
export function hashTokenizer(tokenizer: NativeTokenizer): string {
  const known = hashed.get(tokenizer);
  if (known !== undefined) return known;
  const hash = createHash("sha256");
  const { vocabulary, bos, eos, addsBos } = tokenizer;
  hash.update(JSON.stringify([vocabulary, bos, eos, addsBos]));
  for (let token = 0; token < vocabulary; token++) {
    hash.update(`${tokenizer.detokenize(Int32Array.of(token), true)}\0`);
  }
  const found = hash.digest("hex");
  hashed.set(tokenizer, found);
  return found;
}

/** SHA-256 of what lays a task's rows out for a model. */
export function hashTemplate({ prompt, answer }: Task, model: Model): string {
  const parts = [prompt, answer, prompt.chat ? model.template : null];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
