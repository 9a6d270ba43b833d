// adapter_config.json, PEFT's description of a LoRA: which of its settings we have, and which we refuse by name.
// Knows nothing of tensors.
import { open } from "node:fs/promises";
import { cannot, StillroomError } from "../support/errors.js";
import type { NativeLoraOptions } from "../support/native.js";
import { moduleName } from "./names.js";
import { type Json, type JsonObject, parseStrictJson } from "./strict_json.js";

const MAX_BYTES = 1_000_000;

/** What of an adapter stands in its description; which weights it adapts is read from its tensors. */
export type AdapterSettings = Pick<NativeLoraOptions, "rank" | "alpha" | "dropout" | "rsLora" | "layers">;

/** Settings that say nothing about what the adapter computes, or that are read below. */
const KNOWN = new Set(
  (
    "peft_type task_type peft_version auto_mapping base_model_name_or_path revision inference_mode r lora_alpha lora_dropout " +
    "use_rslora target_modules exclude_modules bias init_lora_weights rank_pattern alpha_pattern layers_pattern layers_to_transform " +
    "megatron_core qalora_group_size ensure_weight_tying runtime_config"
  ).split(" "),
);

/** Ways to draw the first A and B that leave the base model as it is; all others, PiSSA for one, change it. */
const HARMLESS_STARTS = new Set<Json | undefined>([undefined, null, true, false, "gaussian", "eva", "orthogonal"]);

/** The text of adapter_config.json. */
export function formatConfig(options: NativeLoraOptions, baseModel: string): string {
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: baseModel,
    inference_mode: true,
    r: options.rank,
    lora_alpha: options.alpha,
    lora_dropout: options.dropout,
    use_rslora: options.rsLora,
    target_modules: options.targets.map(moduleName).sort(),
    ...(options.layers && { layers_to_transform: options.layers }),
    bias: "none",
    fan_in_fan_out: false,
    init_lora_weights: true,
    modules_to_save: null,
    use_dora: false,
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** Throws "input" for a file that is no LoRA description of ours or PEFT's, or that uses a feature that we do not compute. */
export async function readConfig(file: string): Promise<{ settings: AdapterSettings; baseModel: string | null }> {
  const config = await parseFile(file);
  const refuse = (field: string, expected: string): never => {
    throw new StillroomError(
      "input",
      `${file}: expected ${expected} for ${field}, received ${show(config.get(field))}`,
    );
  };
  const rank = config.get("r");
  const alpha = toNumber(config.get("lora_alpha"));
  const dropout = toNumber(config.get("lora_dropout") ?? 0n);
  const rsLora = config.get("use_rslora") ?? false;
  const layers = layersOf(config.get("layers_to_transform"));
  const baseModel = config.get("base_model_name_or_path") ?? null;
  if (config.get("peft_type") !== "LORA") refuse("peft_type", '"LORA"');
  if ((config.get("task_type") ?? "CAUSAL_LM") !== "CAUSAL_LM") refuse("task_type", '"CAUSAL_LM"');
  if ((config.get("bias") ?? "none") !== "none") refuse("bias", '"none" (stillroom adapts no biases)');
  if (!HARMLESS_STARTS.has(config.get("init_lora_weights"))) {
    refuse("init_lora_weights", "a start that leaves the base model unchanged");
  }
  if (typeof rank !== "bigint" || rank < 1n || rank > 4096n) return refuse("r", "a whole number from 1 to 4096");
  if (!(alpha > 0)) refuse("lora_alpha", "a number above 0");
  if (!(dropout >= 0 && dropout < 1)) refuse("lora_dropout", "a number in [0, 1)");
  if (typeof rsLora !== "boolean") return refuse("use_rslora", "true or false");
  if (typeof baseModel !== "string" && baseModel !== null) return refuse("base_model_name_or_path", "a name");
  if (layers === null) refuse("layers_to_transform", "a list of layers");
  if (!isUniform(config.get("rank_pattern"), Number(rank))) refuse("rank_pattern", `the rank ${rank} everywhere`);
  if (!isUniform(config.get("alpha_pattern"), alpha)) refuse("alpha_pattern", `the alpha ${alpha} everywhere`);
  for (const [field, value] of config) {
    if (!KNOWN.has(field) && !isOff(value)) refuse(field, "nothing (stillroom does not have this feature of PEFT)");
  }
  return { settings: { rank: Number(rank), alpha, dropout, rsLora, ...(layers && { layers }) }, baseModel };
}

async function parseFile(file: string): Promise<JsonObject> {
  let parsed: Json;
  try {
    parsed = parseStrictJson(await readText(file));
  } catch (error) {
    if (error instanceof StillroomError) throw error;
    throw new StillroomError("input", `${file}: ${(error as Error).message}`, { cause: error });
  }
  if (!(parsed instanceof Map))
    throw new StillroomError("input", `${file}: expected an object, received ${show(parsed)}`);
  return parsed;
}

async function readText(file: string): Promise<string> {
  let bytes: Buffer;
  try {
    const handle = await open(file, "r");
    try {
      const size = (await handle.stat()).size;
      if (size > MAX_BYTES) throw new StillroomError("input", `${file}: expected at most 1 MB, received ${size} bytes`);
      bytes = await handle.readFile();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof StillroomError) throw error;
    throw cannot("read", file, error);
  }
  return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
}

function toNumber(value: Json | undefined): number {
  return typeof value === "bigint" || typeof value === "number" ? Number(value) : Number.NaN;
}

/** PEFT's choice of layers, one number or a list, in order; undefined for all of them, null for something else. */
function layersOf(value: Json | undefined): number[] | undefined | null {
  if (value === undefined || value === null) return undefined;
  const list = Array.isArray(value) ? value : [value];
  if (list.length === 0 || !list.every((layer) => typeof layer === "bigint" && layer >= 0n && layer < 4096n))
    return null;
  return [...new Set(list.map(Number))].sort((a, b) => a - b);
}

/** Whether PEFT's per-module ranks or alphas are absent or each equal the common one. */
function isUniform(pattern: Json | undefined, common: number): boolean {
  if (pattern === undefined || pattern === null) return true;
  return pattern instanceof Map && [...pattern.values()].every((value) => toNumber(value) === common);
}

function isOff(value: Json): boolean {
  if (Array.isArray(value)) return value.length === 0;
  return value === null || value === false || (value instanceof Map && value.size === 0);
}

function show(value: Json | undefined): string {
  if (value instanceof Map) return `an object of ${[...value.keys()].slice(0, 4).join(", ")}`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === "string" ? JSON.stringify(value.slice(0, 80)) : String(value);
}
