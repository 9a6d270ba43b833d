// What a run's answers are calibrated by: fitted on its validation rows when it has ended, and written beside what it trained.
import { type Calibration, writeCalibration } from "../adapter/index.js";
import { evaluateRows, fitCalibration, type ScoringJob } from "../evaluate/index.js";
import { hasLabels } from "../task/index.js";
import type { TuneSettings } from "../train/index.js";

/** Fewer rows than this say little of how sure a model may be: then only what was asked for is fitted. */
const enough = 50;

/** Fits and writes; gives the file, or null where there was nothing to fit. Throws "input" where no threshold reaches the precision. */
export async function calibrateRun(run: string, job: ScoringJob, settings: TuneSettings): Promise<string | null> {
  const { calibrate, targetPrecision, coverage } = settings;
  const { kind } = job.task;
  if (kind === "generate") return null;
  const asked = hasLabels(kind) ? (calibrate ?? "none") !== "none" || targetPrecision !== null : coverage !== null;
  if (!asked && (job.rows.length < enough || calibrate === "none")) return null;
  const { rows } = await evaluateRows(job);
  if (rows.length === 0) return null;
  const method = calibrate ?? (rows.length < enough ? "none" : "temperature");
  const calibration: Calibration = fitCalibration(rows, "validation", {
    method,
    precision: targetPrecision,
    coverage: coverage ?? 0.9,
    sets: kind === "multilabel",
  });
  return writeCalibration(run, calibration);
}
