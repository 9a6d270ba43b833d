// The shape of a task once it is read and checked. Knows no file syntax and reads no data.

export const taskKinds = ["classify", "multilabel", "regress", "generate"] as const;
/** What is asked of the model: one of a set of labels, any number of them, a number, or free text. */
export type TaskKind = (typeof taskKinds)[number];

export const sourceFormats = ["jsonl", "csv", "tsv", "parquet"] as const;
export type SourceFormat = (typeof sourceFormats)[number];

/** Metrics that can steer a run and head a table, by kind; the first one is the default. */
export const metricsOf = {
  classify: ["accuracy", "macro_f1", "weighted_f1", "log_loss", "brier"],
  // Average precision needs no threshold: those of a run are fitted when it has ended.
  multilabel: ["average_precision", "micro_f1", "macro_f1", "subset_accuracy", "hamming_loss", "log_loss", "brier"],
  regress: ["mae", "rmse", "pearson", "spearman", "r2"],
  generate: ["exact_match", "f1", "rouge_l"],
} as const satisfies Record<TaskKind, readonly string[]>;

/** Whether a metric is an error, better where it is lower. */
export function isError(metric: string): boolean {
  return ["log_loss", "brier", "ece", "hamming_loss", "mae", "rmse"].includes(metric);
}

/** Whether a metric is in the unit of the task's numbers, and so may be of any size. */
export function hasUnit(metric: string): boolean {
  return metric === "mae" || metric === "rmse";
}

/** Whether answers are made of labels, so that without a list in the task file the training rows say which there are. */
export function hasLabels(kind: TaskKind): boolean {
  return kind === "classify" || kind === "multilabel";
}

/** Whether a value of a data file is a finite number, or the decimal text of one. */
export function isNumber(value: string): boolean {
  return /^[+-]?(\d+\.?|\d*\.\d+)(e[+-]?\d+)?$/i.test(value.trim()) && Number.isFinite(Number(value));
}

/** One file of rows. */
export interface Source {
  /** Absolute path. */
  path: string;
  format: SourceFormat;
  /** Field of the task → column of the file, where the names differ. */
  columns: Record<string, string>;
}

/** A seeded part of another split's file. The rows taken are missing from that other split. */
export interface Split {
  from: "train" | "test";
  /** Share of the good rows, between 0 and 1. */
  fraction: number;
  /** Field whose values keep their shares on both sides. */
  stratify?: string;
  /** Field whose values never stand on both sides. */
  group?: string;
  seed: number;
}

/** What the audit of a task looks at, and how far it may go; all of it may be left out. */
export interface AuditSettings {
  /** The favourable label, as its text or its value. */
  positive?: string;
  /** Columns whose values are groups. */
  columns?: string[];
  /** By attribute and group: terms that name the group; the nth of one group stands for the nth of another. */
  terms?: Record<string, Record<string, string[]>>;
  /** Largest gaps, shares of flipped answers, shifts and biases. */
  bounds?: Partial<Record<AuditBound, number>>;
}

/** The gaps between groups that a bound may be set to, of answers in words and of numbers. */
export const boundedGaps = {
  labels: ["demographic_parity", "equal_opportunity", "equalized_odds", "calibration", "accuracy"],
  numbers: ["mean_prediction", "mae", "rmse", "signed_error", "coverage"],
} as const;

export type AuditBound =
  | (typeof boundedGaps)["labels" | "numbers"][number]
  | "flips"
  | "shift"
  | "crows_pairs"
  | "bbq"
  | "teacher";

/** One job: its data, its prompt, its answers and how they are measured. */
export interface Task {
  name: string;
  kind: TaskKind;
  /** Absolute path of the task file. */
  file: string;
  /** Absolute path of the folder that was given for the data; absent: that of the task file. */
  folder?: string;
  data: { train?: Source; test?: Source | Split; validation?: Source | Split };
  prompt: {
    /** Put once before the examples; in a chat, the system turn. */
    instruction?: string;
    /** Jinja over the fields of a row. Empty only in a chat, whose turns are then the row's own messages. */
    template: string;
    /** Stands between the instruction, the examples and the row. */
    separator: string;
    /** Lay the prompt out with the model's own chat template. */
    chat: boolean;
  };
  answer: {
    field: string;
    /**
     * Value in the data → text that the model answers; absent: the values themselves. In the order of the task file. For regress: numbers on the scale, by which a
     * model without a head is asked.
     */
    labels?: Record<string, string>;
    /** Of multilabel: stands between the labels of a text; absent: a text is a JSON list. */
    separator?: string;
  };
  metric: string;
  /** For generate: the longest answer in tokens. */
  maxTokens: number;
  audit?: AuditSettings;
}

/** Whether a split is drawn from another one's file. */
export function isDrawn(part: Source | Split): part is Split {
  return "from" in part;
}
