// The part of the boundary to native/addon that chooses and makes quantised types.
import type { NativeImportance } from "./native.js";

/** A tensor with ggml's name of its type, such as "q4_K". */
export interface NativeTensorType {
  name: string;
  type: string;
}

/** How a file is quantised. */
export interface NativeQuantizeOptions {
  /** "Q4_K_M", "Q8_0", "F16", … */
  type: string;
  importance: NativeImportance | null;
  threads: number;
  /** Matrices that are not to have that type's own choice. */
  tensors?: NativeTensorType[];
}

/** What quantising one matrix alone does to a model's answers to a batch. */
export interface NativeSensitivity {
  /** Types that a matrix may have by the length of its rows, rising by size; of the whole matrix in bytes. Tied embeddings and head are one. */
  readonly matrices: { name: string; weights: number; types: { type: string; bytes: number }[] }[];
  /** Query positions that klSum is over. */
  readonly positions: number;
  /**
   * error: squared differences, weighted by the channels' mean squared inputs where those are known. klSum: KL(model || with that matrix quantised) in nats
   * over the positions; 0 without run, which is cheap.
   */
  measure(matrix: number, type: number, run: boolean): Promise<{ error: number; klSum: number }>;
  close(): Promise<void>;
}
