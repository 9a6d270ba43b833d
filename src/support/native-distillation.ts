// The part of the boundary to native/addon that distillation adds: what a teacher says, and the loss of a student.

/** What is kept of a teacher's less likely tokens: a draw of them by their probability, or their mass alone. */
export type NativeTail = "sample" | "bucket";

/** What a teacher is asked for. */
export interface NativeTeaching {
  /** Entries of a query. */
  topK: number;
  /** Of its softmax. */
  temperature: number;
  tail: NativeTail;
  /** Its states, too (default false). */
  hidden?: boolean;
}

/** A teacher's most likely tokens at each query, and what is kept of all others (docs/numerics.md). */
export interface NativeTaught extends Pick<NativeTeaching, "topK" | "tail"> {
  /**
   * (Q, topK) flattened, the most likely first, then those drawn: a token in the upper 18 bits, -ln p in steps of 1/512 in the lower 14; all bits set where
   * there are no more.
   */
  entries: Uint32Array;
  /** (Q) "bucket": mass of the tokens that stand in no entry; "sample": the mass that a token stands for that is drawn, one of less probability than that. */
  tails: Float32Array;
  /** Its states, where they were asked for. */
  hidden?: NativeHidden;
}

/** A teacher's states behind its final norm at each query. */
export interface NativeHidden {
  /** Values of a state. */
  width: number;
  /** (Q, width) flattened, the bits of f16. */
  states: Uint16Array;
}

/**
 * The loss of a student: labelWeight of the labels' cross-entropy, the rest of temperature² times a divergence from the teacher; and hiddenWeight times the
 * distance of its states from the teacher's.
 */
export interface NativeDistillation {
  /** KL(teacher || student), KL(student || teacher), or the generalised Jensen-Shannon divergence. */
  loss: "forward_kl" | "reverse_kl" | "jsd";
  /** Of jsd: the teacher's share of the mixture, above 0 and below 1. */
  beta: number;
  /** Of both softmaxes; the teacher was asked at the same. */
  temperature: number;
  /** From 0 to 1. */
  labelWeight: number;
  /** At least 0 (default 0); above 0 for parameters with a projection. */
  hiddenWeight?: number;
}
