// What a batch tells while it works, and what it came to. Data only.

/** How far a batch is. What it counts is on the disk. */
export interface BatchProgress {
  /** Done, of the rows of the input. */
  rows: number;
  totalRows: number;
  computed: number;
  fromStore: number;
  errors: number;
  tokens: number;
  seconds: number;
  /** At the speed so far. */
  secondsLeft: number;
}

/** The fields of `stillroom batch --json`. */
export interface BatchResult {
  /** Lines of `out`. */
  rows: number;
  /** Of these, answered by the model; equal requests count once, and of a list of texts to embed each text. */
  computed: number;
  /** Of these, known already, or equal to another of the batch. */
  from_store: number;
  /** Rows that failed. */
  errors: number;
  out: string;
  /** The file of the rows that failed; null where none did. */
  errors_file: string | null;
  /** Which limit ended the work before the end of the input; null where none did. */
  stopped: "max_rows" | "max_time" | "max_tokens" | null;
  rows_per_second: number;
  /** Tokens of the prompts that were computed, each as if it were alone, and of their answers, by second. */
  tokens_per_second: number;
  peak_memory_bytes: number;
  /** From the first row to the last; opening the model not counted. */
  seconds: number;
}

export interface BatchCalls {
  onProgress?: ((progress: BatchProgress) => void) | undefined;
  /** Called for every row that failed. */
  onBad?: ((bad: { file: string; line: number; reason: string }) => void) | undefined;
  /** Called for what failed and is tried again. */
  onWarning?: ((message: string) => void) | undefined;
}
