// Golden numbers of tests/golden: reading them, laying their rows out as batches, and comparing tensors with them.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { NativeBatch, NativeParameters, NativeTensor } from "../../src/support/native.js";
import type { Toy } from "./toy.js";

const folder = fileURLToPath(new URL("../golden", import.meta.url));

/** A row of token ids; labels are the positions whose token is asked for. */
export interface GoldenRow {
  tokens: number[];
  labels: number[];
}
export type PackedTensors = Record<string, { shape: [number, number]; data: string }>;

export interface GradientGolden extends Toy {
  rows: GoldenRow[];
  lossSum: number;
  labelCount: number;
  gradients: PackedTensors;
}

export interface OptimizerGolden {
  toy: Toy;
  options: {
    learningRate: number;
    beta1: number;
    beta2: number;
    epsilon: number;
    weightDecay: number;
    clipNorm: number;
  };
  steps: { rows: GoldenRow[]; labelCount: number; loss: number; gradientNorm: number }[];
  weights: PackedTensors;
}

const readJson = (file: string): unknown => JSON.parse(readFileSync(path.join(folder, file), "utf8"));

/** Of LoRA adapters in gradients/, of all weights in gradients/full/. */
export function gradientGoldens(place: "gradients" | "gradients/full" = "gradients"): GradientGolden[] {
  const names = readdirSync(path.join(folder, place)).filter((name) => name.endsWith(".json"));
  return names.sort().map((name) => readJson(`${place}/${name}`) as GradientGolden);
}

export const optimizerGolden = (file: "optimizer" | "optimizer-full"): OptimizerGolden =>
  readJson(`${file}.json`) as OptimizerGolden;

export function unpackTensors(packed: PackedTensors): NativeTensor[] {
  return Object.entries(packed).map(([name, { shape, data }]) => {
    const bytes = Uint8Array.from(Buffer.from(data, "base64"));
    return { name, shape, data: new Float32Array(bytes.buffer) };
  });
}

/** Copies of all tensors. */
export function tensorsOf(parameters: NativeParameters): NativeTensor[] {
  return parameters.shapes.map(({ name, shape }, index) => {
    const data = new Float32Array(shape[0] * shape[1]);
    parameters.read(index, data);
    return { name, shape, data };
  });
}

/** Each row as one segment of its own. */
export function plainBatch(rows: GoldenRow[]): NativeBatch {
  const lengths = rows.map((row) => row.tokens.length);
  const starts = lengths.map((_, row) => lengths.slice(0, row).reduce((sum, length) => sum + length, 0));
  return {
    tokens: Int32Array.from(rows.flatMap((row) => row.tokens)),
    segments: Int32Array.from(lengths.flatMap((length, row) => [starts[row]!, length, -1])),
    queryPositions: Int32Array.from(rows.flatMap((row, i) => row.labels.map((at) => starts[i]! + at - 1))),
    queryTokens: Int32Array.from(rows.flatMap((row) => row.labels.map((at) => row.tokens[at]!))),
  };
}

/** The same rows with every common beginning laid down once. */
export function forestBatch(rows: GoldenRow[]): NativeBatch {
  const tokens: number[] = [];
  const segments: number[] = [];
  const queries: { position: number; token: number }[] = [];

  const grow = (members: GoldenRow[], from: number, parent: number): void => {
    for (const group of groupBy(members, (row) => row.tokens[from]!)) {
      const first = group[0]!;
      let end = from;
      while (end < first.tokens.length && group.every((row) => row.tokens[end] === first.tokens[end])) end++;
      const index = segments.length / 3;
      const start = tokens.length;
      segments.push(start, end - from, parent);
      tokens.push(...first.tokens.slice(from, end));
      for (const row of group) {
        for (const at of row.labels.filter((label) => label - 1 >= from && label - 1 < end)) {
          queries.push({ position: start + at - 1 - from, token: row.tokens[at]! });
        }
      }
      grow(
        group.filter((row) => row.tokens.length > end),
        end,
        index,
      );
    }
  };
  grow(rows, 0, -1);
  return {
    tokens: Int32Array.from(tokens),
    segments: Int32Array.from(segments),
    queryPositions: Int32Array.from(queries, (query) => query.position),
    queryTokens: Int32Array.from(queries, (query) => query.token),
  };
}

function groupBy<T>(items: T[], key: (item: T) => number): T[][] {
  const groups = new Map<number, T[]>();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return [...groups.values()];
}

/** Per tensor ‖got - want‖ / ‖want‖, by name; a tensor that is missing or has another shape counts as infinitely far. */
export function distances(got: NativeTensor[], want: NativeTensor[]): Map<string, number> {
  const byName = new Map(got.map((tensor) => [tensor.name, tensor]));
  return new Map(
    want.map((tensor) => {
      const other = byName.get(tensor.name);
      if (String(other?.shape) !== String(tensor.shape)) return [tensor.name, Number.POSITIVE_INFINITY];
      let difference = 0;
      let norm = 0;
      tensor.data.forEach((value, i) => {
        difference += (value - other!.data[i]!) ** 2;
        norm += value ** 2;
      });
      return [tensor.name, Math.sqrt(difference / norm)];
    }),
  );
}
