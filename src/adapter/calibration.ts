// What a run's answers are calibrated by, as a file: calibration.json beside the adapter. Owns the format; fitting and applying are evaluate's.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { StillroomError } from "../support/errors.js";
import { isFolder, writeFileAtomic } from "../support/files.js";

/** What is made of a model's probabilities or numbers before they are answers, as it was fitted on held-out rows. */
export interface Calibration {
  /** The rows that it was fitted on. */
  split: string;
  rows: number;
  /** Of labels: probabilities are raised to 1 / temperature; 1 leaves them. */
  temperature: number | null;
  /** Of labels: for each, a rising line from probability to probability, as its corners; null: none. */
  isotonic: Record<string, Line> | null;
  /** Of labels: answers whose probability is below `threshold` are left open, so that of those given `precision` are right; null: all are given. */
  abstain: { precision: number; threshold: number } | null;
  /** Of numbers: the answer lies within `radius` of the prediction for a share `coverage` of rows (split conformal); null: no interval. */
  conformal: { coverage: number; radius: number } | null;
  /**
   * Of sets of labels, in place of all that: every label's logit is divided by `temperature` (null: it is not); `precision` is what thresholds were asked to
   * reach (null: the highest F1).
   */
  sets?: { temperature: number | null; precision: number | null; labels: Record<string, LabelCalibration> };
}

/** A rising line from probability to probability, as its corners. */
export interface Line {
  from: number[];
  to: number[];
}

/** Of a label in a set. */
export interface LabelCalibration {
  /** null: none. */
  isotonic: Line | null;
  /** The label is given from this probability on; null: never. */
  threshold: number | null;
}

const FILE = "calibration.json";

/** The file that a run keeps its calibration in, whether or not it has one. */
export function calibrationFile(run: string): string {
  return path.join(run, FILE);
}

/** Writes a run's calibration, whole or not at all, and gives the file. Throws "io". */
export async function writeCalibration(run: string, calibration: Calibration): Promise<string> {
  const text = JSON.stringify({ format: "stillroom-calibration", version: 1, ...calibration }, null, 2);
  await writeFileAtomic(calibrationFile(run), `${text}\n`);
  return calibrationFile(run);
}

/** The calibration of an adapter that is a RUN folder; null where there is none. Throws "input" for a file that is none of ours. */
export async function loadCalibration(place: string | undefined): Promise<Calibration | null> {
  if (place === undefined || !isFolder(place)) return null;
  const file = calibrationFile(place);
  if (!existsSync(file)) return null;
  const found = parse(await readFile(file, "utf8"));
  if (found) return found;
  throw new StillroomError("input", `${file} is no calibration that tune of this version wrote`);
}

function parse(text: string): Calibration | null {
  try {
    const { format, version, split, rows, temperature, isotonic, abstain, conformal, sets } = JSON.parse(text);
    const positive = (value: unknown) => typeof value === "number" && value > 0 && Number.isFinite(value);
    const labels = Object.values((sets?.labels ?? {}) as Record<string, LabelCalibration>);
    const own = labels.flatMap((label) => (label.isotonic === null ? [] : [label.isotonic]));
    const lines = [...Object.values((isotonic ?? {}) as Record<string, Line>), ...own];
    const sound =
      format === "stillroom-calibration" &&
      version === 1 &&
      typeof split === "string" &&
      Number.isSafeInteger(rows) &&
      [temperature, sets ? sets.temperature : null].every((value) => value === null || positive(value)) &&
      labels.every(({ threshold }) => threshold === null || Number.isFinite(threshold)) &&
      lines.every(
        ({ from, to }) => from.length > 0 && from.length === to.length && [...from, ...to].every(Number.isFinite),
      ) &&
      (abstain === null || (Number.isFinite(abstain.precision) && Number.isFinite(abstain.threshold))) &&
      (conformal === null || (Number.isFinite(conformal.coverage) && Number.isFinite(conformal.radius)));
    return sound ? { split, rows, temperature, isotonic, abstain, conformal, ...(sets && { sets }) } : null;
  } catch {
    return null;
  }
}
