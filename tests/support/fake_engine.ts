// A toy of the native engine in JavaScript: a low-rank bigram model, logits = B A[:, token], trained by AdamW.
// Follows the contract of NativeTrainer (sums, finite, state bytes), so that the loop can be tested without a model.

import type {
  NativeBatch,
  NativeLora,
  NativeLoraOptions,
  NativeState,
  NativeTensor,
  NativeTrainer,
  NativeTrainerOptions,
} from "../../src/support/native.js";
import { Random } from "../../src/support/random.js";

export const vocabulary = 12;
/** A query for this token has a loss that is not finite. */
export const poison = vocabulary - 1;

export class FakeLora implements NativeLora {
  readonly a: Float32Array;
  readonly b: Float32Array;

  constructor(readonly options: NativeLoraOptions) {
    const random = new Random(options.seed);
    this.a = Float32Array.from({ length: options.rank * vocabulary }, () => random.float() - 0.5);
    this.b = new Float32Array(options.rank * vocabulary);
  }

  get shapes() {
    return this.tensors().map(({ name, shape }) => ({ name, shape }));
  }

  read(index: number, into: Float32Array, first = 0): void {
    into.set(this.tensors()[index]!.data.subarray(first, first + into.length));
  }

  write(index: number, from: Float32Array, first = 0): void {
    (index === 0 ? this.a : this.b).set(from, first);
  }

  tensors(): NativeTensor[] {
    const { rank } = this.options;
    return [
      { name: "blk.0.attn_q.lora_a", shape: [rank, vocabulary], data: this.a.slice() },
      { name: "blk.0.attn_q.lora_b", shape: [vocabulary, rank], data: this.b.slice() },
    ];
  }

  load(tensors: NativeTensor[]): void {
    for (const { name, data } of tensors) (name.endsWith("lora_a") ? this.a : this.b).set(data);
  }

  /** -log p(next | token), and its gradient with respect to both factors added to ga and gb. */
  lossOf(token: number, next: number, ga?: Float64Array, gb?: Float64Array): number {
    if (next === poison) return Number.NaN;
    const { rank } = this.options;
    const hidden = Array.from({ length: rank }, (_, r) => this.a[r * vocabulary + token]!);
    const logits = Array.from({ length: vocabulary }, (_, v) =>
      hidden.reduce((sum, h, r) => sum + h * this.b[v * rank + r]!, 0),
    );
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
    for (let v = 0; v < vocabulary && ga && gb; v++) {
      const dlogit = Math.exp(logits[v]!) / total - (v === next ? 1 : 0);
      for (let r = 0; r < rank; r++) {
        gb[v * rank + r]! += dlogit * hidden[r]!;
        ga[r * vocabulary + token]! += dlogit * this.b[v * rank + r]!;
      }
    }
    return Math.log(total) - logits[next]!;
  }
}

/** Bytes as the state of an optimiser. */
export function stateOf(bytes: Uint8Array): NativeState {
  return {
    bytes: bytes.length,
    read: (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
    write: (offset, from) => bytes.set(from, offset),
  };
}

/** All the bytes of an optimiser's state. */
export function bytesOf(state: NativeState): Uint8Array {
  const bytes = new Uint8Array(state.bytes);
  state.read(0, bytes);
  return bytes;
}

export class FakeTrainer implements NativeTrainer {
  readonly calls: { step: number; microBatch: number; queries: number }[] = [];
  /** Queries of each batch that was observed; after the last, "fit". */
  readonly observed: (number | "fit")[] = [];
  readonly #size: number;
  #gradient: Float64Array;
  /** Number of updates, then both moments of each weight. */
  readonly #memory: Float64Array;
  readonly state: NativeState;

  constructor(
    readonly lora: FakeLora,
    readonly options: NativeTrainerOptions,
  ) {
    this.#size = lora.a.length;
    this.#gradient = new Float64Array(2 * this.#size);
    this.#memory = new Float64Array(1 + 4 * this.#size);
    this.state = stateOf(new Uint8Array(this.#memory.buffer));
  }

  async accumulate(batch: NativeBatch, step: number, microBatch: number) {
    this.calls.push({ step, microBatch, queries: batch.queryTokens.length });
    const ga = new Float64Array(this.#size);
    const gb = new Float64Array(this.#size);
    let lossSum = 0;
    for (const [index, position] of batch.queryPositions.entries()) {
      lossSum += this.lora.lossOf(batch.tokens[position]!, batch.queryTokens[index]!, ga, gb);
    }
    const finite = Number.isFinite(lossSum);
    for (let i = 0; finite && i < this.#size; i++) {
      this.#gradient[i]! += ga[i]!;
      this.#gradient[this.#size + i]! += gb[i]!;
    }
    return { lossSum, count: batch.queryTokens.length, finite, hiddenSum: 0 };
  }

  async observe(batch: NativeBatch): Promise<void> {
    this.observed.push(batch.queryTokens.length);
  }

  async fit(): Promise<void> {
    this.observed.push("fit");
  }

  async update({ learningRate, divisor }: { learningRate: number; divisor: number }) {
    const { beta1, beta2, epsilon, weightDecay, clipNorm } = this.options;
    const gradient = this.#gradient.map((value) => value / divisor);
    const gradientNorm = Math.hypot(...gradient);
    const scale = clipNorm > 0 && gradientNorm > clipNorm ? clipNorm / gradientNorm : 1;
    this.#memory[0]! += 1;
    const updates = this.#memory[0]!;
    for (let i = 0; i < gradient.length; i++) {
      const g = gradient[i]! * scale;
      const m = beta1 * this.#memory[1 + 2 * i]! + (1 - beta1) * g;
      const v = beta2 * this.#memory[2 + 2 * i]! + (1 - beta2) * g * g;
      this.#memory.set([m, v], 1 + 2 * i);
      const step = m / (1 - beta1 ** updates) / (Math.sqrt(v / (1 - beta2 ** updates)) + epsilon);
      const [weights, at] = i < this.#size ? [this.lora.a, i] : [this.lora.b, i - this.#size];
      weights[at] = weights[at]! - learningRate * (step + weightDecay * weights[at]!);
    }
    this.discard();
    return { gradientNorm };
  }

  discard(): void {
    this.#gradient.fill(0);
  }

  async close(): Promise<void> {}

  gradients(): NativeTensor[] {
    const [a, b] = this.lora.tensors() as [NativeTensor, NativeTensor];
    return [
      { ...a, data: Float32Array.from(this.#gradient.subarray(0, this.#size)) },
      { ...b, data: Float32Array.from(this.#gradient.subarray(this.#size)) },
    ];
  }
}
