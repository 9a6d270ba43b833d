// From a base and an adapter to one checked GGUF: merge, quantise, gate, put in place. Owns its temporary files and the order of
// the steps; the equations are native, the comparison is gate.ts.
import { rm, stat } from "node:fs/promises";
import path from "node:path";
import { performance } from "node:perf_hooks";
import { adapterFiles, loadAdapter, loadCalibration, loadHead, requireNoHead } from "../adapter/index.js";
import { readRows } from "../dataset/index.js";
import { readShots, requireGoodRow, requireHead } from "../evaluate/index.js";
import { boxedModels, Model, openModel } from "../model/index.js";
import { compilePrompt } from "../prompt/index.js";
import { throwIfCancelled } from "../support/cancelled.js";
import { StillroomError } from "../support/errors.js";
import { makeFolder, placeFile, requireWritable, temporaryName } from "../support/files.js";
import { requireNoInput, requireSameKind } from "../support/inputs.js";
import { type NativeImportance, type NativeLora, native, rethrow } from "../support/native.js";
import { taskFiles } from "../task/index.js";
import { cardFile, requireOwnCard, writeExportCards } from "./card.js";
import { type Gate, heldOut, refusalOf, runGate } from "./gate.js";
import { type Mixture, quantizeWithin } from "./mixture.js";
import { type ExportOptions, type ExportProgress, type ExportSettings, exportSettings } from "./options.js";
import { answerBatches } from "./rows.js";
import { mergedBytes, quantizedBytes, requireSpace } from "./space.js";

/** The result of {@link exportModel}, in the fields of `stillroom export --json`. */
export interface ExportResult {
  /** Absolute path of the GGUF. */
  out: string;
  /** Path of the base. */
  model: string;
  adapter: string | null;
  /** What the file was measured under, and is to be run under; null without it. */
  under: string | null;
  /** The quantisation type; with size that of {@link Mixture}. */
  type: string;
  bytes: number;
  /** Of the base. */
  model_bytes: number;
  /** The model card: Markdown with the Hub's front matter, from what was measured. */
  card: string;
  /** That of the merged model, where it is kept; else null. */
  merged_card: string | null;
  /** Tokens that the importance matrix was made of; null without one. */
  imatrix_tokens: number | null;
  /** What size chose; null without it. */
  mixture: Mixture | null;
  /** null without a task to check with. */
  gate: Gate | null;
  seconds: number;
}

/**
 * Merges an adapter into its base in f32, quantises the result, and compares the three on held-out rows before the file is put
 * in place. Metadata, tokenizer and chat template are kept.
 *
 * @throws StillroomError "gate" when a step loses more than its bound (cause: the {@link ExportResult}; the file is not put in
 * place), "usage" for a wrong option, "missing" or "input" for model, adapter and data, "io" for the disk, "cancelled" on abort
 *
 * @example
 * ```ts
 * import { exportModel, readTask } from "stillroom";
 * const check = await readTask("sst2/task.yaml");
 * const { bytes, gate } = await exportModel({ adapter: "runs/sst2", quantize: "Q4_K_M", check, out: "sst2.gguf" });
 * console.log(bytes, gate?.kl.merged_quantized, gate?.metric.quantized.value);
 * ```
 */
export async function exportModel(options: ExportOptions): Promise<ExportResult> {
  const settings = await exportSettings(options);
  const given = options.model;
  const base = given instanceof Model ? given : await openModel(given, options);
  try {
    return await new Export(base, settings).run();
  } catch (error) {
    return rethrow(error);
  } finally {
    if (base !== given) await base.close();
  }
}

class Export {
  readonly #started = performance.now();
  readonly #out: string;
  /** Where the merged model is to be kept. */
  readonly #merged: string | null;
  /** Removed at the end, whatever happens. */
  readonly #temporary: string[] = [];
  readonly #models: Model[] = [];

  constructor(
    readonly base: Model,
    readonly settings: ExportSettings,
  ) {
    this.#out = path.resolve(settings.out);
    this.#merged = settings.keepMerged === undefined ? null : path.resolve(settings.keepMerged);
  }

  async run(): Promise<ExportResult> {
    const { adapter, under, check } = this.settings;
    try {
      await this.#requireOtherFile();
      const lora = adapter === undefined ? null : await loadAdapter(this.base.native, adapter);
      const remedy = "give its run for under, and the model that it stands on is quantised";
      requireNoHead(lora, `a GGUF cannot hold: ${remedy}`, ["under"]);
      const beside = under === undefined ? null : await loadAdapter(this.base.native, under);
      await this.#requireAnswerable();
      await this.#requireSpace(lora);
      const source = lora ? await this.#merge(lora) : this.base.info.path;
      const importance = await this.#collectImportance(source);
      const [quantized, mixture] = await this.#quantize(source, importance);
      const gate = check ? await this.#check(lora, beside, source, quantized) : null;
      const result = await this.#result(quantized, importance, mixture, gate);
      if (gate && !gate.passed) {
        throw new StillroomError("gate", `${this.#out} was not written: ${refusalOf(gate, importance !== null)}`, {
          cause: result,
        });
      }
      throwIfCancelled(this.settings.signal, "exporting");
      await this.#closeModels();
      const merged = lora ? this.#merged : null;
      if (merged !== null) await placeFile(source, merged);
      await placeFile(quantized, this.#out);
      const facts = { base: this.base, check: check ?? null, prompt: this.settings.prompt?.content ?? null };
      await writeExportCards(result, facts, merged);
      return result;
    } finally {
      await this.#closeModels();
      for (const file of this.#temporary) await rm(file, { force: true });
    }
  }

  async #requireOtherFile(): Promise<void> {
    const { adapter, under, imatrix, check, keepMerged, prompt } = this.settings;
    const inputs = [
      { what: "the model that is exported", file: this.base.info.path },
      ...[adapter, under].flatMap((place) => (place === undefined ? [] : adapterFiles(place))),
      ...[imatrix, check].flatMap((task) => (task ? taskFiles(task) : [])),
      ...(prompt === undefined ? [] : [{ what: "the prompt file", file: prompt.file }]),
      ...(await boxedModels()),
    ];
    for (const file of [this.settings.out, keepMerged]) {
      if (file === undefined) continue;
      await requireOwnCard(cardFile(path.resolve(file)));
      await requireNoInput(file, inputs);
      await requireSameKind(file, "GGUF", "GGUF");
    }
    if (this.#merged !== null && cardFile(this.#merged) === cardFile(this.#out)) {
      throw new StillroomError("usage", "out and keepMerged are the same file or of one name; choose another one", {
        options: ["out", "keepMerged"],
      });
    }
  }

  /** Whether the gate will find rows that can be asked about, and what answers them. */
  async #requireAnswerable(): Promise<void> {
    const { under, check } = this.settings;
    if (!check) return;
    // Bad rows are told by the gate.
    const { rows, split, labels } = await heldOut(check, { ...this.settings, onBad: undefined });
    const head = await loadHead(under);
    requireHead(head, { task: check, labels }, "under");
    await loadCalibration(under);
    const { examples } = await readShots(check, rows, { ...this.settings, model: this.base });
    const prompt = compilePrompt(check, this.base.template);
    requireGoodRow({ model: this.base, lora: null, task: check, rows, prompt, examples, labels, head }, split);
  }

  async #requireSpace(lora: NativeLora | null): Promise<void> {
    const { info } = this.base;
    const { keepMerged, quantize, size } = this.settings;
    const [folder, mergedFolder] = [this.#out, path.resolve(keepMerged ?? this.#out)].map((file) => path.dirname(file));
    await makeFolder(folder!);
    await makeFolder(mergedFolder!);
    for (const file of [this.#out, keepMerged]) if (file !== undefined) await requireWritable(file);
    const merged = lora ? mergedBytes(info, lora.tensors()) : 0;
    // A budget may be larger than any model of these weights.
    const quantized = size === undefined ? quantizedBytes(info, quantize) : Math.min(size, quantizedBytes(info, "F32"));
    // The two folders are taken to lie on one disk.
    for (const place of new Set([folder!, mergedFolder!])) await requireSpace(place, merged + quantized);
  }

  async #merge(lora: NativeLora): Promise<string> {
    this.#begin("merge");
    const { alpha, rank, rsLora } = lora.options;
    const file = this.#temporaryFile(this.settings.keepMerged ?? `${this.#out}.merged`);
    await native().merge(this.base.info.path, lora.tensors(), alpha / (rsLora ? Math.sqrt(rank) : rank), file);
    return file;
  }

  async #collectImportance(source: string): Promise<NativeImportance | null> {
    const { imatrix: task, limit, strict, onBad, signal } = this.settings;
    if (!task) return null;
    this.#begin("importance");
    const { rows } = await readRows(task, "train", {
      ...{ limit, strict: strict ?? false },
      ...(onBad && { onBad }),
      ...(signal && { signal }),
    });
    const importance = native().createImportance();
    const model = await this.#open(source);
    const { examples } = await readShots(task, rows, { ...this.settings, model: this.base });
    const batches = answerBatches(model, task, rows, false, examples);
    for (const [index, batch] of batches.entries()) {
      throwIfCancelled(signal, "collecting the importance matrix");
      await model.native.collectImportance(batch, importance);
      this.settings.onProgress?.({ phase: "importance", done: (index + 1) / batches.length });
    }
    return importance;
  }

  async #quantize(source: string, importance: NativeImportance | null): Promise<[string, Mixture | null]> {
    const { quantize: type, size } = this.settings;
    const file = this.#temporaryFile(this.#out);
    if (size === undefined) {
      this.#begin("quantize");
      await native().quantize(source, file, { type, importance, threads: this.base.threads });
      return [file, null];
    }
    this.#begin("measure");
    const mixture = await quantizeWithin(await this.#open(source), {
      ...{ budget: size, file, task: (this.settings.imatrix ?? this.settings.check)!, importance },
      settings: this.settings,
    });
    return [file, mixture];
  }

  async #check(lora: NativeLora | null, beside: NativeLora | null, source: string, file: string): Promise<Gate> {
    this.#begin("check");
    const [merged, quantized] = [await this.#open(source), await this.#open(file)];
    const under = beside && { merged: beside, quantized: await loadAdapter(quantized.native, this.settings.under!) };
    return runGate(this.settings.check!, { base: this.base, lora, merged, quantized, under }, this.settings);
  }

  async #result(
    file: string,
    importance: NativeImportance | null,
    mixture: Mixture | null,
    gate: Gate | null,
  ): Promise<ExportResult> {
    const { adapter, under } = this.settings;
    return {
      out: this.#out,
      model: this.base.info.path,
      adapter: adapter ?? null,
      under: under ?? null,
      type: mixture?.type ?? this.settings.quantize,
      bytes: (await stat(file)).size,
      model_bytes: this.base.info.fileBytes,
      card: cardFile(this.#out),
      merged_card: adapter !== undefined && this.#merged !== null ? cardFile(this.#merged) : null,
      imatrix_tokens: importance?.tokens ?? null,
      mixture,
      gate,
      seconds: (performance.now() - this.#started) / 1000,
    };
  }

  /** A file that we wrote ourselves, with the tokenizer of the base: its own is a copy of it. */
  async #open(file: string): Promise<Model> {
    if (file === this.base.info.path) return this.base;
    const open = this.#models.find(({ info }) => info.path === file);
    if (open) return open;
    const engine = await native().openModel(file, { threads: this.base.threads, variant: null });
    const model = new Model(engine.info, engine, this.base.tokenizer, this.base.threads);
    this.#models.push(model);
    return model;
  }

  /** The tokenizer is the base's and stays open. */
  async #closeModels(): Promise<void> {
    for (const model of this.#models.splice(0)) await model.native.close();
  }

  #temporaryFile(beside: string): string {
    const file = temporaryName(path.resolve(beside));
    this.#temporary.push(file);
    return file;
  }

  #begin(phase: ExportProgress["phase"]): void {
    throwIfCancelled(this.settings.signal, "exporting");
    this.settings.onProgress?.({ phase, done: 0 });
  }
}
